"""Tasks: questions with their reference answers, one task a file."""
