"""Cloud Storage for a laptop: the JSON and XML APIs over files on disk and metadata in SQLite."""
