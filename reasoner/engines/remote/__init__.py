"""Engines that run in other processes: what is sent, who hosts them, and an engine that a server keeps warm."""
