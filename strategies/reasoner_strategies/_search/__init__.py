"""Machinery of the searches: chains of steps, levels of rated steps, and chains that grow in rounds."""
