"""Rules: a user's own function or regular expression says what a candidate is worth."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import regex

from reasoner.blame import where
from reasoner.budget import Cost
from reasoner.errors import UsageError, VerifierError
from reasoner.protocols import Engine, Resourceless, Tab
from reasoner.types import Completion, Question, Rating

SECONDS = 1.0
"""A pattern that takes longer on one candidate is given up: what it runs over is a model's text."""

Rule = Callable[[Question, Completion], float]
"""Rates one candidate from 0 to 1; True and False are 1 and 0."""


@dataclass(frozen=True, slots=True)
class Rules(Resourceless):
    """Rates by `pattern`, 1 where it is found in what was generated and else 0, or by the function `call` names.

    `call` is written `module:function`; the function is given the question and the completion, returns 0 to 1, and runs
    in a thread. It is the user's own code and trusted; a model's code belongs to `code`.
    """

    pattern: str = ""
    call: str = ""

    def __post_init__(self) -> None:
        if bool(self.pattern) == bool(self.call):
            raise UsageError("rules need a pattern or a call, and not both: write rules:pattern=REGEX")
        if self.pattern:
            try:
                regex.compile(self.pattern)
            except regex.error as error:
                raise UsageError(f"pattern={self.pattern!r} is no regular expression: {error}") from error
        else:
            self._function()

    def _function(self) -> Rule:
        module, colon, name = self.call.partition(":")
        if not (module and colon and name):
            raise UsageError(f"call={self.call!r} names no function: write module:function")
        try:
            found = getattr(import_module(module), name)
        except Exception as error:
            raise UsageError(f"call={self.call!r} cannot be imported: {error}") from error
        if not callable(found):
            raise UsageError(f"call={self.call!r} is no function, but {type(found).__name__}")
        rule: Rule = found
        return rule

    @property
    def logprobs(self) -> None:
        """Nothing is needed of the sequences."""
        return

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> Rating:
        """What the rule says of one candidate.

        Raises:
            VerifierError: the pattern took too long, or the function failed or returned no number from 0 to 1.
        """
        if self.pattern:
            return Rating(float(await asyncio.to_thread(self._found, candidate.chain)), Cost())
        try:
            value = await asyncio.to_thread(self._function(), question, candidate)
        except Exception as error:
            what = f"{type(error).__name__}: {error}{where(error)}"
            raise VerifierError(f"the rule {self.call} failed with {what}") from error
        if not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise VerifierError(f"the rule {self.call} returned {value!r}: a rating is a number from 0 to 1")
        return Rating(float(value), Cost())

    def _found(self, text: str) -> bool:
        try:
            return regex.search(self.pattern, text, timeout=SECONDS) is not None
        except TimeoutError as error:
            raise VerifierError(f"pattern={self.pattern!r} took over {SECONDS:g} s: make it simpler") from error
