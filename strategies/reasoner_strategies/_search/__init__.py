"""Machinery of the searches: steps, trees, resampling, and samples drawn in order or in lockstep."""
