"""Dataflow for a laptop: the v1b3 API over REST and gRPC, and its jobs on local processes."""
