"""When a question or a sequence has had enough: pure functions."""
