"""Fitting a reward model on labelled runs, and measuring what a verifier is worth."""
