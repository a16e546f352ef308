"""Values out of a server's JSON, each checked before it is used: counts, log-probabilities, texts, usage."""

import json
from typing import Any, NamedTuple, NoReturn

from reasoner.blame import MOST_IN_A_REQUEST
from reasoner.types import TokenIds

LEAST_LOGPROB, ROUNDING = -1e6, 1e-3
"""A log-probability is at most 0, up to rounding; servers write -9999 for what is impossible."""


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        found = _DECODER.decode(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return mapping(found)


def mapping(value: Any) -> dict[str, Any]:
    """The object; empty where there is none. Raises ValueError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what is wrong is the reply, not our code
    return value


def listed(value: Any) -> list[Any]:
    """The list; empty where there is none. Raises ValueError for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("not a list")  # noqa: TRY004
    return value


def text(value: Any) -> str:
    """The text; empty where there is none. Raises ValueError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004
    return value


def mended(spelled: str) -> str:
    """A text that any file can hold: halves of a character that came apart are joined, and lone ones are replaced."""
    if spelled.isascii():
        return spelled
    return spelled.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def count(value: Any) -> int:
    """A number of tokens, or a token id: 0 to 10^9. Raises ValueError for anything else."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MOST_IN_A_REQUEST:
        raise ValueError("not a count")
    return value


def logprob(value: Any) -> float:
    """A log-probability, at most 0. Raises ValueError for anything else."""
    if type(value) not in (float, int) or not LEAST_LOGPROB <= value <= ROUNDING:
        raise ValueError("not a log-probability")
    return min(float(value), 0.0)


class Told(NamedTuple):
    """The server's own counts, in tokens; None where it does not say."""

    prompt: int | None = None
    generated: int | None = None
    cached: int | None = None


def usage(value: Any) -> Told | None:
    """The counts of a `usage` object; None where there is none. Raises ValueError if it holds anything but counts."""
    if not value:
        return None
    found = mapping(value)
    cached = mapping(found.get("prompt_tokens_details")).get("cached_tokens")
    prompt, generated = found.get("prompt_tokens"), found.get("completion_tokens")
    return Told(*(None if one is None else count(one) for one in (prompt, generated, cached)))


class Row(NamedTuple):
    """A token's own log-probability and those of the alternatives, in no order."""

    own: float
    others: list[float]


def rows(value: Any) -> list[Row]:
    """The rows of a `logprobs` object of either route. Raises ValueError where it is malformed."""
    found = mapping(value)
    if found.get("content") is not None:
        tokens = [mapping(token) for token in listed(found["content"])]
        return [
            Row(
                logprob(token.get("logprob")),
                [logprob(mapping(other).get("logprob")) for other in listed(token.get("top_logprobs"))],
            )
            for token in tokens
        ]
    sampled = listed(found.get("token_logprobs"))
    tops = listed(found.get("top_logprobs")) or [None] * len(sampled)
    return [
        Row(logprob(own), [logprob(other) for other in mapping(top).values()])
        for own, top in zip(sampled, tops, strict=True)
    ]


def watched(value: Any, watch: TokenIds) -> list[tuple[float, ...]]:
    """For each token the log-probabilities of the watched ids. Raises ValueError where one is missing."""
    found: list[tuple[float, ...]] = []
    for token in listed(mapping(value).get("content")):
        others = [mapping(other) for other in listed(mapping(token).get("top_logprobs"))]
        told = {other.get("token"): other.get("logprob") for other in others}
        found.append(tuple(logprob(told.get(f"token_id:{token_id}")) for token_id in watch))
    return found
