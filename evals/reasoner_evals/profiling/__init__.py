"""Profiles from runs: what each way to spend gave on a task, question by question, from replies that are there."""
