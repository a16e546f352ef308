"""The machine: files, secrets, child processes, exceptions of foreign code."""
