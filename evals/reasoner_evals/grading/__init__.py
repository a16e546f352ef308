"""Grading: whether an answer is right, and the grades that a run or a trace keeps."""
