"""Machinery of the searches: steps, trees, resampling, and chains drawn in lockstep."""
