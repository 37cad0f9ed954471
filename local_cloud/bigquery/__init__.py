"""BigQuery for a laptop: datasets, tables, load jobs from the local bucket and simple queries."""
