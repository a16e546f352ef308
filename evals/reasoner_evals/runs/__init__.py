"""Runs: what an evaluation writes down, resumes from, and is read back from."""
