"""The entry points of all installed packages, read once, as this takes tens of milliseconds."""

from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any


@cache
def plug_ins(group: str) -> EntryPoints:
    """The entry points of a group; nothing is imported yet."""
    selected: EntryPoints = _all().select(group=group)
    return selected


@cache
def _all() -> Any:
    """All entry points. Python 3.11 and later versions have different types for this, with the same `select`."""
    return entry_points()
