"""The same work done by Tallyflow and by its peers, measured in one run: `make bench`."""
