"""Spend inference-time compute where it buys accuracy: strategies, verifiers and a budget on one engine."""

# Nothing is imported here, so that the command can be interrupted from its first moment.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reasoner.answers.questions import Question
    from reasoner.budget import Budget, Cost, Ledger, Prices
    from reasoner.execution.runner import (
        proposals,
        solve,
        solve_each,
        solve_many,
        solve_many_sync,
        solve_sync,
    )
    from reasoner.execution.scheduler import Allocation
    from reasoner.registry import build
    from reasoner.solution import Solution, Solutions
    from reasoner.trace.replies import Reply
    from reasoner.types import (
        Answer,
        Completion,
        Prompt,
        Proposal,
        Rating,
        SamplingParams,
        Vote,
        VoteState,
    )

_NAMES = {
    "answers.questions": ("Question",),
    "budget": ("Budget", "Cost", "Ledger", "Prices"),
    "execution.scheduler": ("Allocation",),
    "execution.runner": (
        "proposals",
        "solve",
        "solve_each",
        "solve_many",
        "solve_many_sync",
        "solve_sync",
    ),
    "registry": ("build",),
    "solution": ("Solution", "Solutions"),
    "trace.replies": ("Reply",),
    "types": (
        "Answer",
        "Completion",
        "Prompt",
        "Proposal",
        "Rating",
        "SamplingParams",
        "Vote",
        "VoteState",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Allocation",
    "Answer",
    "Budget",
    "Completion",
    "Cost",
    "Ledger",
    "Prices",
    "Prompt",
    "Proposal",
    "Question",
    "Rating",
    "Reply",
    "SamplingParams",
    "Solution",
    "Solutions",
    "Vote",
    "VoteState",
    "build",
    "proposals",
    "solve",
    "solve_each",
    "solve_many",
    "solve_many_sync",
    "solve_sync",
]


def __getattr__(name: str) -> "Any":
    """Import a name on first use, so that `reasoner --help` does not wait for all of them."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"reasoner.{_HOMES[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("reasoner-kit")
    raise AttributeError(f"module 'reasoner' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
