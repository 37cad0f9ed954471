"""Google Cloud for a laptop: Dataflow, Cloud Storage, BigQuery and Postgres on loopback."""
