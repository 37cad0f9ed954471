"""A run: shares of files become states, states become results, with Beam around plain functions."""
