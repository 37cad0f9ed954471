"""Published partitions: manifests, versions, rollups."""
