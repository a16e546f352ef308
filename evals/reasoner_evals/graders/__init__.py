"""Graders that need more than a reference answer: tests to run, or a scorer of others."""
