"""Answers the questions of a file: what is read, what is written, and how an interrupted batch continues."""
