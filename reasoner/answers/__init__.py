"""Kinds of answers: the forms in which they are read, how a probe opens one, and when two are equal."""
