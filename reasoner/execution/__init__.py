"""Runs plans: the only code that calls engines and verifiers."""
