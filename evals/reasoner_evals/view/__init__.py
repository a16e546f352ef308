"""Pages over runs, served to this machine: each question and sample of each arm, and its search tree."""
