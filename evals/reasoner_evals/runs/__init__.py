"""Runs: what an evaluation writes down, goes on from, and is read back from."""
