"""The entry points of all installed packages, read once: looking through the packages takes tens of milliseconds."""

from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any


@cache
def plug_ins(group: str) -> EntryPoints:
    """What is registered in a group; nothing is imported yet."""
    found: EntryPoints = _all().select(group=group)
    return found


@cache
def _all() -> Any:
    """Every entry point. Python 3.11 and later versions have different types for this, with the same `select`."""
    return entry_points()
