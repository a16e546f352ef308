"""vLLM inside this program: one engine that generates, one that rates, and what they share."""
