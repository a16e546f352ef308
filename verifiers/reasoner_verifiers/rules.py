"""Rules: rates a candidate by the user's own function or regular expression."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

import regex

from reasoner import Completion, Cost, Question, Rating
from reasoner.engine import Engine
from reasoner.errors import UsageError, VerifierError
from reasoner.system.foreign import ForeignErrors
from reasoner.verifier import CostMeter, FreeVerifier

SECONDS = 1.0
"""Time limit of a pattern on one candidate, as a model wrote its text."""

Rule = Callable[[Question, Completion], float]
"""Rates one candidate from 0 to 1; True and False are 1 and 0."""


@dataclass(frozen=True, slots=True)
class Rules(FreeVerifier):
    """Rates 1 if `pattern` occurs in the generated text and else 0, or by the function that `call` names.

    `call` is `module:function`. The function gets the question and the completion, and returns 0 to 1. It runs in a
    thread and is trusted, as the user's own code; use `code` to run a model's code.
    """

    example: ClassVar[str] = "-s best_of_n:n=4 --verifier rules:pattern=7"

    pattern: str = ""
    call: str = ""

    def __post_init__(self) -> None:
        if bool(self.pattern) == bool(self.call):
            raise UsageError(
                "rules need either a pattern or a call: write rules:pattern=REGEX or rules:call=MODULE:FUNCTION"
            )
        if self.pattern:
            try:
                regex.compile(self.pattern)
            except regex.error as error:
                raise UsageError(
                    f"pattern={self.pattern!r} is not a regular expression: {error}"
                ) from error
        else:
            self._function()

    def _function(self) -> Rule:
        module, colon, name = self.call.partition(":")
        if not (module and colon and name):
            raise UsageError(
                f"call={self.call!r} does not name a function: write module:function"
            )
        try:
            rule = getattr(import_module(module), name)
        except Exception as error:
            raise UsageError(
                f"call={self.call!r} cannot be imported: {error}"
            ) from error
        if not callable(rule):
            raise UsageError(
                f"call={self.call!r} is not a function but {type(rule).__name__}"
            )
        return rule  # type: ignore[no-any-return]

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The rule's rating of one candidate."""
        if self.pattern:
            return Rating(
                float(await asyncio.to_thread(self._matches, candidate.chain)), Cost()
            )
        with ForeignErrors(f"the rule {self.call}", VerifierError):
            value = await asyncio.to_thread(self._function(), question, candidate)
        if not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise VerifierError(
                f"the rule {self.call} returned {value!r}: it must return a number from 0 to 1"
            )
        return Rating(float(value), Cost())

    def _matches(self, text: str) -> bool:
        try:
            return regex.search(self.pattern, text, timeout=SECONDS) is not None
        except TimeoutError as error:
            raise VerifierError(
                f"pattern={self.pattern!r} took over {SECONDS:g} s: make it simpler"
            ) from error
