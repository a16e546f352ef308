"""Machinery of the votes: over finished sequences, with stop rules, with ratings, and by the model itself."""
