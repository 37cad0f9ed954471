"""Dataset files: what a dataset is, as YAML declares it, and its partitions."""
