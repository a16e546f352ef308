"""Signatures of functions that pass their arguments on."""

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
