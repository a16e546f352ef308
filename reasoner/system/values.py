"""Values: frozen dataclasses that are made in large numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

__all__ = ["value"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool = True, **options: Any) -> Any:
        """A dataclass that type checkers treat as frozen, with the hash of a frozen one.

        At run time nothing refuses an assignment: Python's frozen dataclasses take six times as long to make.
        """
        return dataclass(unsafe_hash=frozen, **options)
