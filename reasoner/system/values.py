"""What Python's own decorators lack: values that are made in large numbers, and functions that pass arguments on."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

__all__ = ["arguments_of", "value"]

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool = True, **options: Any) -> Any:
        """A dataclass that type checkers treat as frozen, with the hash of a frozen one.

        At run time nothing refuses an assignment: Python's frozen dataclasses take six times as long to make.
        """
        return dataclass(unsafe_hash=frozen, **options)


def arguments_of(
    function: Callable[P, object],
) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Gives a function that passes its arguments on the signature of `function`, with a result of its own."""

    def decorate(passes_on: Callable[..., T]) -> Callable[P, T]:
        signature = inspect.signature(function).replace(
            return_annotation=inspect.signature(passes_on).return_annotation
        )
        passes_on.__signature__ = signature  # type: ignore[attr-defined]
        return passes_on

    return decorate
