"""Values in a server's JSON, each checked before it is used: counts, log-probabilities, texts, usage, models."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn, TypeVar

from reasoner.system.files import parse_json
from reasoner.system.foreign import MAX_PER_REQUEST
from reasoner.types import TokenIds

MIN_LOGPROB, ROUNDING = -1e6, 1e-3
"""A log-probability is at most 0, up to rounding; servers write -9999 for impossible tokens."""
_T = TypeVar("_T", dict[str, Any], list[Any], str)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is not one, or is nested too deeply.
    """
    try:
        return mapping(_DECODER.decode(data.decode()))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _typed(value: Any, default: _T, name: str) -> _T:
    if value is None:
        return default
    if not isinstance(value, type(default)):
        raise ValueError(f"not {name}")  # noqa: TRY004 - the reply is wrong, not our code
    return value


def mapping(value: Any) -> dict[str, Any]:
    """The object; empty where there is none. Raises ValueError for anything else."""
    return _typed(value, {}, "an object")


def listed(value: Any) -> list[Any]:
    """The list; empty where there is none. Raises ValueError for anything else."""
    return _typed(value, [], "a list")


def text(value: Any) -> str:
    """The text; empty where there is none. Raises ValueError for anything else."""
    return _typed(value, "", "text")


def valid_unicode(text: str) -> str:
    """Text that any file can hold: separated surrogates are joined, and lone ones are replaced."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def ends_in_surrogate(text: str) -> bool:
    """Whether a text ends inside a pair of surrogates, whose second half may follow."""
    return "\ud800" <= text[-1:] <= "\udbff"


def count(value: Any) -> int:
    """A number of tokens, or a token id: 0 to 10^9. Raises ValueError for anything else."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_PER_REQUEST:
        raise ValueError("not a count")
    return value


def logprob(value: Any) -> float:
    """A log-probability, at most 0. Raises ValueError for anything else."""
    if type(value) not in (float, int) or not MIN_LOGPROB <= value <= ROUNDING:
        raise ValueError("not a log-probability")
    return min(float(value), 0.0)


class Reported(NamedTuple):
    """The server's own counts, in tokens; None where it reports none. `thinking` is a part of `generated`."""

    prompt: int | None = None
    generated: int | None = None
    cached: int | None = None
    thinking: int | None = None


def usage(value: Any) -> Reported | None:
    """The counts of a `usage` object; None where there is none. Raises ValueError if it holds anything but counts."""
    if not value:
        return None
    fields = mapping(value)
    cached = mapping(fields.get("prompt_tokens_details")).get("cached_tokens")
    thinking = mapping(fields.get("completion_tokens_details")).get("reasoning_tokens")
    counts = (fields.get("prompt_tokens"), fields.get("completion_tokens"), cached, thinking)
    reported = Reported(*(None if number is None else count(number) for number in counts))
    prompt, generated, thought = reported.prompt or 0, reported.generated, reported.thinking
    if generated is not None and thought and fields.get("total_tokens") == prompt + generated + thought:
        # Some servers count thinking beside the rest, and only their total has both.
        return reported._replace(generated=generated + thought)
    return reported


class Content(NamedTuple):
    """What a piece of a message holds: the final part, and thinking under a name of its own."""

    final: str
    thinking: str


def content(part: dict[str, Any]) -> Content:
    """The texts of a message or a delta. Raises ValueError where one is not text.

    Servers call thinking `reasoning` or `reasoning_content`; those that send it under both names mean the same one.
    Mistral's own API sends a list of typed pieces.
    """
    final, thinking = part.get("content"), text(part.get("reasoning")) or text(part.get("reasoning_content"))
    if not isinstance(final, list):
        return Content(text(final), thinking)
    pieces = [mapping(piece) for piece in final]
    thoughts = [mapping(thought) for piece in pieces for thought in listed(piece.get("thinking"))]
    return Content(
        "".join(text(piece.get("text")) for piece in pieces),
        thinking or "".join(text(thought.get("text")) for thought in thoughts),
    )


class Row(NamedTuple):
    """A token's own log-probability and those of the alternatives, in no order."""

    own: float
    others: list[float]


def rows(value: Any) -> list[Row]:
    """The rows of a `logprobs` object of either route. Raises ValueError where it is malformed."""
    fields = mapping(value)
    if fields.get("content") is not None:
        tokens = [mapping(token) for token in listed(fields["content"])]
        return [
            Row(
                logprob(token.get("logprob")),
                [logprob(mapping(other).get("logprob")) for other in listed(token.get("top_logprobs"))],
            )
            for token in tokens
        ]
    sampled = listed(fields.get("token_logprobs"))
    tops = listed(fields.get("top_logprobs")) or [None] * len(sampled)
    return [
        Row(logprob(own), [logprob(other) for other in mapping(top).values()])
        for own, top in zip(sampled, tops, strict=True)
    ]


def watched(value: Any, watch: TokenIds) -> list[tuple[float, ...]]:
    """For each token the log-probabilities of the watched ids. Raises ValueError where one is missing."""
    tokens: list[tuple[float, ...]] = []
    for token in listed(mapping(value).get("content")):
        others = [mapping(other) for other in listed(mapping(token).get("top_logprobs"))]
        by_name = {other.get("token"): other.get("logprob") for other in others}
        tokens.append(tuple(logprob(by_name.get(f"token_id:{token_id}")) for token_id in watch))
    return tokens


class Listed(NamedTuple):
    """A model in the reply of /models.

    `max_model_len` and `root` are vLLM's: the window in tokens, and the id or path that the model was loaded from. They
    are 0 and empty if the server does not report them.
    """

    id: str
    owned_by: str
    max_model_len: int
    root: str = ""


class Tokenized(NamedTuple):
    """The reply of vLLM's /tokenize: token ids, one at least, the context window, and the tokens as text if asked."""

    tokens: TokenIds
    max_model_len: int
    token_strs: tuple[str, ...] = ()


def listed_models(body: bytes) -> dict[str, Listed] | None:
    """The models by id, in the server's order; None where the reply is not a list of models."""
    try:
        models = [
            Listed(
                valid_unicode(entry["id"]),
                text(entry.get("owned_by")),
                count(entry.get("max_model_len") or 0),
                text(entry.get("root")),
            )
            for entry in map(mapping, parsed(body)["data"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {model.id: model for model in models}


def without_aliases(models: Mapping[str, Listed]) -> list[Listed]:
    """The models that are not, as MODEL@ALIAS, a way in which `reasoner serve` answers with another of them."""
    return [model for name, model in models.items() if name.rpartition("@")[0] not in models]


def tokenized(body: bytes) -> Tokenized | None:
    """The ids; None where this is not a reply of vLLM."""
    try:
        reply = parsed(body)
        tokens = tuple(count(token) for token in listed(reply.get("tokens")))
        token_strs = tuple(map(text, listed(reply.get("token_strs"))))
        return Tokenized(tokens, count(reply.get("max_model_len")), token_strs) if tokens else None
    except ValueError:
        return None


def detokenized(body: bytes) -> str | None:
    """The text; None where this is not a reply of vLLM's /detokenize."""
    try:
        return valid_unicode(text(parsed(body)["prompt"]))
    except (ValueError, KeyError):
        return None


def message_of(body: bytes) -> str:
    """The message of a server's error reply; the whole JSON without escapes where its form is unknown."""
    message = body.decode("utf-8", "replace")
    with suppress(ValueError):
        reply = part = parse_json(message)
        for key in ("error", "message", "detail"):
            if isinstance(part, dict) and part.get(key):
                part = part[key]
        message = part if isinstance(part, str) else json.dumps(reply, ensure_ascii=False)
    return message
