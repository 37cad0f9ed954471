"""Runs one Dataflow job in processes of this machine."""
