"""The search behind an answer, as a tree: built from a trace, shown as HTML."""
