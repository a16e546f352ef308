"""Evaluation: tasks, runs, statistics and reports. The only place that knows reference answers."""
