"""What was measured of a model, and the decisions based on it: pure functions."""
