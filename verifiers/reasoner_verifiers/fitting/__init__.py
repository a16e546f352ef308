"""Fits reward models on labelled runs, and measures how good a verifier is."""
