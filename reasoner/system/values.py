"""Values: frozen dataclasses of which many are made."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

__all__ = ["value"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool = True, **options: Any) -> Any:
        """A dataclass that type checkers know as frozen, and that is hashed as such.

        Python's own check would make each of them in six times the time, as it sets every field by a call.
        """
        return dataclass(unsafe_hash=frozen, **options)
