"""One script per peer: python -m benchmarks.peers.<peer> WORK INPUT OUTPUT."""
