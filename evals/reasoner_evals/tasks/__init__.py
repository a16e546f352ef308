"""Tasks: benchmarks and other sources of questions with reference answers."""
