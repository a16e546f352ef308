"""The exceptions of this library, and checks of option values.

ReasonerError
├── UsageError            the caller's input cannot work
│   ├── MissingExtra      an optional part of this library is not installed
│   ├── UnknownName       an unknown strategy, verifier, engine, option or unit
│   └── PromptTooLong     the prompt alone fills the model's context window
├── BudgetExhausted       the ledger refused an operation; raised *into* a plan
├── PlanError             a strategy broke the plan contract, or raised an exception
├── VerifierError         a verifier could not rate a candidate
├── TraceError            a trace cannot be written or read, or does not match
│   ├── DamagedLine       a line of a file was changed after it was written
│   ├── NotRecorded       a replay asks for work that the trace does not have
│   └── RecordError       one event cannot be written, others can
└── EngineError           the engine failed
    ├── EngineUnavailable not installed, not reachable, or it refuses the request
    ├── RequestLost       one request failed part-way; a retry may work
    ├── EngineDied        it died again after it was restarted once
    └── LedgerViolation   an operation cost more than was reserved
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Final


class ReasonerError(Exception):
    """The base class of all exceptions of this library."""


class UsageError(ReasonerError):
    """The caller's input cannot work; the message says what would."""


MAX_LISTED = 20
"""Known names that an error lists; of more it shows the nearest."""


class UnknownName(UsageError):
    """An unknown name, with the known ones and the nearest of them."""

    def __init__(
        self, kind: str, name: str, known: Iterable[str], *, of: str = ""
    ) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        near = (
            [each for each in self.known if each.startswith(name)]
            if len(name) > 1
            else []
        )
        # Longer names that an error suggests together for the start of them
        if not 0 < len(near) <= 3:
            near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        guess = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        owner = f" of {of}" if of else ""
        listed = ", ".join(self.known) if self.known else "none"
        if len(self.known) > MAX_LISTED:
            near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.0)
            listed = f"{len(self.known)}, such as {', '.join(near)}"
        super().__init__(
            f"no {kind}{owner} named {shown(name)}{guess} (there are: {listed})"
        )


MAX_SHOWN = 80
"""Characters of a wrong value that an error shows."""


_PLAIN: Final = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dictionary": "an object",
}
"""What a reader calls the types of pydantic."""


def misfit(problem: Mapping[str, Any]) -> str:
    """What pydantic finds wrong with a value, in words for readers who know neither it nor Python."""
    text = re.sub(
        r"Input should be a valid (\w+).*",
        lambda match: f"it must be {_PLAIN.get(match[1], match[1])}",
        problem["msg"].removeprefix("Value error, "),
    ).replace("Input should be", "it must be")
    return f"{text[:1].lower()}{text[1:]}"


def shown(value: object) -> str:
    """A value of the wrong type in a few words: `'8'`, `2000`, `None`, `the class Single`, `a list`."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, str | bool | int | float):
        text = repr(value[: MAX_SHOWN + 1] if isinstance(value, str) else value)
        return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def require(
    value: float | None,
    name: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Refuse what is not a number, a number outside a range, and NaN; None is an option that is not set.

    `below` infinity means finite. `whole` refuses numbers that are not integers.

    Raises:
        UsageError: as in "n must be at least 1 (got 0)".
    """
    if value is None:
        return
    # Most numbers pass by their type alone: this runs for every sample.
    plain = type(value) is int or (type(value) is float and not whole)
    if not plain and (
        isinstance(value, bool) or not isinstance(value, Integral if whole else Real)
    ):
        raise UsageError(
            f"{name} must be a {'whole ' if whole else ''}number (got {shown(value)})"
        )
    if (
        (at_least is None or value >= at_least)
        and (at_most is None or value <= at_most)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        return
    if at_least is not None and at_most is not None:
        limits = [f"from {at_least:,} to {at_most:,}"]
    else:
        given = {
            "at least": at_least,
            "above": above,
            "at most": at_most,
            "below": below,
        }
        limits = [
            f"{words} {limit:,}" for words, limit in given.items() if limit is not None
        ]
    wanted = " and ".join(limits).replace("below inf", "finite")
    raise UsageError(f"{name} must be {wanted} (got {value:,})")


def require_choice(value: str, name: str, choices: Iterable[str]) -> None:
    """Refuse a word that is not one of `choices`.

    Raises:
        UsageError: as in "mode must be bfs or dfs (got 'x')".
    """
    words = tuple(choices)
    if value not in words:
        listed = " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
        raise UsageError(f"{name} must be {listed} (got {shown(value)})")


def require_name(kind: str, name: str, known: Collection[str], *, of: str = "") -> None:
    """Refuse a name that is not `known`.

    Raises:
        UnknownName: the message suggests the nearest.
    """
    if name not in known:
        raise UnknownName(kind, name, known, of=of)


class MissingExtra(UsageError, ImportError):
    """An optional part of this library is not installed; the message names the command that installs it."""


class PromptTooLong(UsageError):
    """The prompt alone fills the model's context window."""

    def __init__(self, tokens: int, context: int) -> None:
        self.tokens = tokens
        self.context = context
        over = tokens + 1 - context
        super().__init__(
            f"the prompt is {tokens:,} tokens and the model's context window is {context:,}: shorten it by at least "
            f"{over:,} token{'s' if over > 1 else ''} or choose a model with a longer context"
        )


class BudgetExhausted(ReasonerError):
    """Refused: the worst case of the operation (`needed`) exceeds what is left (`free`) of the budget's `limit`.

    All three are in `unit`. With the unit "price", another sample gains less (`free`) than the required gain (`limit`),
    or no sample is `needed`, as none can change the answer.
    """

    def __init__(self, unit: str, *, needed: float, free: float, limit: float) -> None:
        self.unit = unit
        self.needed = needed
        self.free = free
        self.limit = limit
        super().__init__(self._words())

    def _words(self) -> str:
        if self.unit == "price":
            if not self.needed:
                return "no remaining sample can change the answer"
            return f"another sample would gain {self.free:.2g}, but must gain {self.limit:.2g}"
        why = f"the next operation needs {self.needed:g} but {max(self.free, 0):g} are left"
        return f"budget {self.unit}={self.limit:g}: {'the time is up' if self.unit == 'seconds' else why}"


class PlanError(ReasonerError):
    """A strategy broke the plan contract, or raised an exception of its own."""


class VerifierError(ReasonerError):
    """A verifier could not rate a candidate; never turned into a score."""


class TraceError(ReasonerError):
    """A trace cannot be written or read, or does not belong to this run."""


class DamagedLine(TraceError):
    """A damaged line of a file: its checksum does not match, or it is not JSON."""


class NotRecorded(TraceError):
    """The recorded run has no outcome of this work: it was cancelled there, or never asked for."""


class RecordError(TraceError):
    """One event cannot be written, as its text is not valid; later ones can."""


class EngineError(ReasonerError):
    """The engine failed."""


class EngineUnavailable(EngineError):
    """The engine or its model is missing, unreachable, or refuses every request."""


class RequestLost(EngineError):
    """One request failed part-way for an outside reason; the runner books its cost and may try again."""


class EngineDied(EngineError):
    """The engine died again after it was restarted once."""


class LedgerViolation(EngineError):
    """An operation cost more than was reserved for it: the engine broke its contract."""
