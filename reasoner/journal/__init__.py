"""Files that survive a kill at any moment: JSON lines that are appended to, and folders that one process writes."""
