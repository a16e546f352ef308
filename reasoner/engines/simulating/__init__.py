"""What the simulated engine says: arithmetic, JSON of schemas, calls of tools, and forms asked for in words."""
