"""The numbers of a report: per question, per point, and compared with each other."""
