"""How a sequence is sampled, and how much a model is asked to think."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Literal, get_args

from reasoner.errors import UsageError, require, shown
from reasoner.marks import Weights
from reasoner.system.files import parse_json
from reasoner.tokens import TokenIds

NamedLevel = Literal["none", "low", "medium", "high"]
ThinkingLevel = NamedLevel | int
"""How much a model is asked to think: not at all, by its own levels, or at most so many tokens."""
NO_THINKING: Final = "none"
"""The thinking level that asks for an answer without thinking."""
LogitBias = tuple[tuple[int, float], ...]
"""Pairs of a token id and what is added to its logit, -100 to 100."""
MAX_TOKENS: Final = 512
"""The most tokens of a sequence of a model that does not think, where nothing else says it."""
LONGEST_SCHEMA: Final = 65_536
"""Characters of a JSON schema."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a sequence is sampled. None means that it is not given: then the model's own value applies.

    `max_tokens` limits a whole sequence, thinking included. `top_k` 0 and `top_p` 1 mean no cut. `logprobs` is the
    number of alternatives per token: 0 keeps only the sampled token's log-probability, None keeps nothing.

    `presence_penalty` and `frequency_penalty`, -2 to 2, are subtracted from the logit of a token that was generated,
    once or once for each time; `repetition_penalty`, above 0, divides it, in the prompt too; 0, 0 and 1 mean none.
    `logit_bias` may be a mapping of token ids. `bad_words` are texts that are never generated.

    `thinking` is how much a model that thinks is asked to think. `stop` ends the final part only, and also the thinking
    with `stop_in_thinking`. `lora` is an adapter of the model: a folder or a Hugging Face id; on a server the name that
    it has there. `json_schema` is a JSON schema, as JSON, that the final part satisfies where it is not cut.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: TokenIds = ()
    logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: LogitBias = ()
    bad_words: tuple[str, ...] = ()
    thinking: ThinkingLevel | None = None
    stop_in_thinking: bool = False
    lora: Weights = ""
    json_schema: str = ""

    def __post_init__(self) -> None:
        require(self.temperature, "temperature", at_least=0, at_most=10)
        require(self.max_tokens, "max_tokens", at_least=1, whole=True)
        require(self.top_p, "top_p", above=0, at_most=1)
        require(self.top_k, "top_k", at_least=0, whole=True)
        require(self.min_p, "min_p", at_least=0, at_most=1)
        require(self.logprobs, "logprobs", at_least=0, at_most=20, whole=True)
        require(self.presence_penalty, "presence_penalty", at_least=-2, at_most=2)
        require(self.frequency_penalty, "frequency_penalty", at_least=-2, at_most=2)
        require(self.repetition_penalty, "repetition_penalty", above=0, at_most=10)
        for name in ("stop", "bad_words"):
            _check_texts(name, getattr(self, name))
        if self.logit_bias:
            object.__setattr__(self, "logit_bias", _pairs(self.logit_bias))
        _check_schema(self.json_schema)
        if isinstance(self.thinking, str):
            object.__setattr__(self, "thinking", thinking_level(self.thinking))
        else:
            require(self.thinking, "thinking", at_least=1, whole=True)

    @property
    def limit(self) -> int:
        """The most tokens of a sequence. A strategy that counts tokens reads it, in a run with the model's value."""
        return MAX_TOKENS if self.max_tokens is None else self.max_tokens

    def over(self, *others: "SamplingParams") -> "SamplingParams":
        """These parameters, with those that are None taken from the first of the others that gives them."""
        missing = [each.name for each in fields(self) if getattr(self, each.name) is None]
        values = {
            name: next((value for other in others if (value := getattr(other, name)) is not None), None)
            for name in missing
        }
        return replace(self, **{name: value for name, value in values.items() if value is not None})


def thinking_level(text: str) -> ThinkingLevel:
    """The thinking level that is written as `none`, `low`, `medium`, `high`, or a number of tokens such as 512 or 2k.

    Raises:
        UsageError: it is none of these.
    """
    written = text.strip().lower()
    for name in get_args(NamedLevel):
        if written == name:
            level: NamedLevel = name
            return level
    number = re.fullmatch(r"(\d{1,9})(k?)", written, re.ASCII)
    if number and int(number[1]):
        return int(number[1]) * (1000 if number[2] else 1)
    levels = ", ".join(get_args(NamedLevel))
    raise UsageError(f"thinking must be {levels}, or a number of tokens, as in 512 or 2k (got {shown(text)})")


def _pairs(given: LogitBias | Mapping[int, float]) -> LogitBias:
    pairs = tuple(sorted(given.items())) if isinstance(given, Mapping) else given
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise UsageError(
                f"logit_bias must hold pairs of a token id and a bias, as in ((50256, -100),) (got {shown(pair)})"
            )
        token, bias = pair
        require(token, "a token id of logit_bias", at_least=0, whole=True)
        require(bias, f"logit_bias of token {token}", at_least=-100, at_most=100)
    return pairs


def _check_texts(name: str, texts: tuple[str, ...]) -> None:
    what = "stop string" if name == "stop" else "bad word"
    if isinstance(texts, str):
        raise UsageError(f"{name} must be a tuple of strings (got {shown(texts)}): write {name}=({texts!r},)")
    if "" in texts:
        raise UsageError(f"{name}='' is empty: a {what} must have at least one character")


def _check_schema(text: str) -> None:
    if not text:
        return
    try:
        schema = parse_json(text) if len(text) <= LONGEST_SCHEMA else None
    except ValueError as error:
        raise UsageError(f"json_schema is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise UsageError(
            f"json_schema must be a JSON object of at most {LONGEST_SCHEMA:,} characters, as in "
            f'{{"type": "object"}} (got {shown(text)})'
        )


FALLBACK: Final = SamplingParams(
    temperature=0.7, max_tokens=MAX_TOKENS, top_p=1.0, top_k=0, min_p=0.0,
    presence_penalty=0.0, frequency_penalty=0.0, repetition_penalty=1.0,
)  # fmt: skip
"""What applies where neither the user, nor the model, nor the strategy says anything."""
ONE_TOKEN: Final = replace(FALLBACK, temperature=0.0, max_tokens=1)
"""One token, the likeliest, whatever the model's own sampling parameters are."""
