"""The record of a run: events, their files, and the history that resume and replay read."""
