"""The scripted engine, at its old name."""

from reasoner.testing.scripted import CLOSE, END, MODEL, OPEN, THINKER, ScriptedEngine, until_its_turn

__all__ = ["CLOSE", "END", "MODEL", "OPEN", "THINKER", "ScriptedEngine", "until_its_turn"]
