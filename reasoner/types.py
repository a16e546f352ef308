"""The values that flow through a run: questions, prompts, sampling parameters, completions, answers, ratings, votes."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from html import escape
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    cast,
    get_args,
)

from reasoner.errors import UsageError, require, shown
from reasoner.specs import CheckedOptions, Count, Range, Share, Weights
from reasoner.system.files import parse_json
from reasoner.system.foreign import fault_in
from reasoner.system.printing import counted, printable
from reasoner.system.values import value

R = TypeVar("R")

if TYPE_CHECKING:
    from reasoner.budget import Cost

Part = Literal["final", "thinking", "all"]
"""A part of a reply: what a model thought, what it gave as its reply, or both."""
Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "abort"]
"""Why a sequence ended: the model or a stop string ended it, a limit cut it, or the engine aborted it."""
EndedBy = Literal["strategy", "budget", "rule", "price", "error"]
"""What ended a question: its plan, the budget, a stop rule, the price of another sample, or an error."""
Notify = Callable[[str], None]
"""Receives one line for a person about something that takes long: a conversion, a restart."""


TokenIds = tuple[int, ...]
"""Token ids of the model's own vocabulary."""


@value(frozen=True, slots=True)
class Usage:
    """Tokens of one sequence as the engine counted them; `cached_tokens` of the prompt were not computed.

    `thinking_tokens` are those of the generated ones that belong to thinking, its markers included.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    thinking_tokens: int = 0

    @property
    def fault(self) -> str:
        """What is wrong with the counts, which an engine reported; empty if nothing is."""
        counts = (
            ("prompt_tokens", self.prompt_tokens),
            ("cached_tokens", self.cached_tokens),
            ("generated_tokens", self.generated_tokens),
            ("thinking_tokens", self.thinking_tokens),
        )
        if fault := fault_in(counts):
            return fault
        if self.cached_tokens > self.prompt_tokens:
            return f"cached_tokens={self.cached_tokens} is more than prompt_tokens={self.prompt_tokens}"
        if self.thinking_tokens > self.generated_tokens:
            return f"thinking_tokens={self.thinking_tokens} is more than generated_tokens={self.generated_tokens}"
        return ""


NO_LOGPROB = -9999.0
"""Represents a log-probability of minus infinity, which JSON does not have. Only watched tokens can have it."""


@value(frozen=True, slots=True)
class Logprobs:
    """Natural-log probabilities, one entry per token.

    They are of the sampled token, of the best alternatives (best first), and of the token ids that the request watched.
    """

    sampled: tuple[float, ...] = ()
    top: tuple[tuple[float, ...], ...] = ()
    watched: tuple[tuple[float, ...], ...] = ()


NamedLevel = Literal["none", "low", "medium", "high"]
ThinkingLevel = NamedLevel | int
"""How much a model is asked to think: not at all, by its own levels, or at most a number of tokens."""
NO_THINKING: Final = "none"
"""The thinking level that asks for an answer without thinking."""
LogitBias = tuple[tuple[int, float], ...]
"""Pairs of a token id and what is added to its logit, -100 to 100."""
MAX_TOKENS: Final = 512
"""The most tokens of a sequence of a model that does not think, where nothing else says it."""
LONGEST_SCHEMA: Final = 65_536
"""Characters of a JSON schema."""


@dataclass(frozen=True, slots=True)
class SamplingParams(CheckedOptions):
    """How a sequence is sampled. None means that it is not given: then the model's own value applies.

    `temperature` is how random samples are: 0 is greedy. `max_tokens` limits a whole sequence, thinking included.
    `top_p` keeps only the likeliest tokens that have this probability together: 1 is no cut. `top_k` keeps only this
    many of the likeliest tokens: 0 is no cut. `min_p` keeps only tokens with this share of the likeliest one's
    probability.

    `stop` are texts that end the final part of a sample. `stop_in_thinking` has `stop` end the thinking too.
    `stop_token_ids` are token ids that end a sample. `logprobs` is the number of alternatives per token: 0 keeps only
    the sampled token's log-probability, None keeps nothing.

    `presence_penalty`, -2 to 2, is subtracted from the logit of each token that was generated. `frequency_penalty`, -2
    to 2, is subtracted for each time that a token was generated. `repetition_penalty`, above 0, divides the logit of
    each token of the prompt and the reply: 1 is none. `logit_bias` are pairs of a token id and what is added to its
    logit, as in [[50256,-100]], or a mapping. `bad_words` are texts that are never generated.

    `thinking` is how much a model that thinks is asked to think: a level, or a maximum number of tokens, as in 2k.
    `lora` is an adapter of the model, by the name that a server gives it. `json_schema` is a JSON schema, as JSON, that
    the final part satisfies where it is not cut.
    """

    temperature: Annotated[float, Range(at_least=0, at_most=10)] | None = None
    max_tokens: Count | None = None
    top_p: Annotated[float, Range(above=0, at_most=1)] | None = None
    top_k: Annotated[int, Range(at_least=0)] | None = None
    min_p: Share | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: TokenIds = ()
    logprobs: Annotated[int, Range(at_least=0, at_most=20)] | None = None
    presence_penalty: Annotated[float, Range(at_least=-2, at_most=2)] | None = None
    frequency_penalty: Annotated[float, Range(at_least=-2, at_most=2)] | None = None
    repetition_penalty: Annotated[float, Range(above=0, at_most=10)] | None = None
    logit_bias: LogitBias = ()
    bad_words: tuple[str, ...] = ()
    thinking: ThinkingLevel | None = None
    stop_in_thinking: bool = False
    lora: Weights = ""
    json_schema: str = ""

    def complete(self) -> None:
        """Check the texts, the biases and the schema, and read a thinking level that is written."""
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
        missing = [
            each.name for each in fields(self) if getattr(self, each.name) is None
        ]
        values = {
            name: next(
                (
                    value
                    for other in others
                    if (value := getattr(other, name)) is not None
                ),
                None,
            )
            for name in missing
        }
        return replace(
            self, **{name: value for name, value in values.items() if value is not None}
        )


def thinking_level(text: str, option: str = "thinking") -> ThinkingLevel:
    """The thinking level that is written as `none`, `low`, `medium`, `high`, or a number of tokens such as 512 or 2k.

    Raises:
        UsageError: it is none of these.
    """
    written = text.strip().lower()
    if written in get_args(NamedLevel):
        return cast("NamedLevel", written)
    number = re.fullmatch(r"(\d{1,9})(k?)", written, re.ASCII)
    if number and int(number[1]):
        return int(number[1]) * (1000 if number[2] else 1)
    levels = ", ".join(get_args(NamedLevel))
    raise UsageError(
        f"{option} must be {levels}, or a number of tokens, as in 512 or 2k (got {shown(text)})"
    )


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
        raise UsageError(
            f"{name} must be a tuple of strings (got {shown(texts)}): write {name}=({texts!r},)"
        )
    if "" in texts:
        raise UsageError(
            f"{name}='' is empty: a {what} must have at least one character"
        )


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
    temperature=0.7,
    max_tokens=MAX_TOKENS,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    repetition_penalty=1.0,
)
"""What applies where neither the user, nor the model, nor the strategy says anything."""
ONE_TOKEN: Final = replace(FALLBACK, temperature=0.0, max_tokens=1)
"""One token, the likeliest, whatever the model's own sampling parameters are."""


@value(frozen=True, slots=True)
class Message:
    """One turn of a chat. `extra` are more fields that chat templates read, as a JSON object: calls of tools, ids."""

    role: Role
    content: str
    extra: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """The turn as OpenAI's API and chat templates take it."""
        return {
            "role": self.role,
            "content": self.content,
            **(json.loads(self.extra) if self.extra else {}),
        }


@lru_cache(maxsize=4096)
def _head_digest(
    messages: tuple[Message, ...], raw: str, level: ThinkingLevel | None, tools: str
) -> bytes:
    digest = hashlib.blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=16)
    for message in messages:
        digest.update(f"\0{message.role}\0{len(message.content)}\0".encode())
        digest.update(message.content.encode("utf-8", "surrogatepass"))
        if message.extra:
            digest.update(
                f"\0extra\0{len(message.extra)}\0{message.extra}".encode(
                    "utf-8", "surrogatepass"
                )
            )
    if tools:
        digest.update(
            f"\0tools\0{len(tools)}\0{tools}".encode("utf-8", "surrogatepass")
        )
    if level is not None:
        digest.update(f"\0thinking level\0{level}".encode())
    return digest.digest()


@value(frozen=True, slots=True)
class Prompt:
    """What the engine continues: a head (a chat or raw text) and what was generated after it.

    The engine renders the head once and appends `token_ids`, so a continuation is exact at token level and text is
    never tokenised again. `text` is the same continuation without its thinking, for people and for engines that take
    no token ids; `thinking` is what was thought in it. `thinking_level` is how the chat is rendered; None is the
    model's own default. `tools` are those that the model may call, as a JSON list in the form of OpenAI's API.
    """

    messages: tuple[Message, ...] = ()
    raw: str = ""
    token_ids: TokenIds = ()
    text: str = ""
    thinking: str = ""
    thinking_level: ThinkingLevel | None = None
    tools: str = ""

    def __post_init__(self) -> None:
        if bool(self.messages) == bool(self.raw):
            raise UsageError("a prompt needs messages or raw text, and not both")

    @classmethod
    def chat(cls, user: str, *, system: str = "") -> "Prompt":
        """A prompt of one user turn, after a system turn if `system` is given."""
        head = (Message("system", system),) if system else ()
        return cls(messages=(*head, Message("user", user)))

    def then(self, completion: "Completion") -> "Prompt":
        """This prompt extended by a completion, without its closing token but with its stop string."""
        thought = completion.thinking + (
            completion.boundary if completion.unclosed else ""
        )
        text = completion.text + ("" if completion.unclosed else completion.boundary)
        return self.extended(text, completion.continuation, thinking=thought)

    def at_level(self, level: ThinkingLevel | None) -> "Prompt":
        """This prompt at a thinking level, unless it has one already or `level` is None."""
        return (
            self
            if level is None or self.thinking_level is not None
            else replace(self, thinking_level=level)
        )

    def extended(
        self, text: str, token_ids: TokenIds, *, thinking: str = ""
    ) -> "Prompt":
        """This prompt with a text, after what was thought before it, and with the token ids of both."""
        ids, whole, thought = (
            self.token_ids + token_ids,
            self.text + text,
            self.thinking + thinking,
        )
        return Prompt(
            self.messages,
            self.raw,
            ids,
            whole,
            thought,
            self.thinking_level,
            self.tools,
        )

    @property
    def tool_fields(self) -> dict[str, Any]:
        """The field of the tools, as chat templates and OpenAI's API take it; none without tools."""
        return {"tools": json.loads(self.tools)} if self.tools else {}

    @property
    def head_digest(self) -> str:
        """A fingerprint of the messages or the raw text, the tools and the thinking level, 32 hex digits."""
        return _head_digest(
            self.messages, self.raw, self.thinking_level, self.tools
        ).hex()

    @property
    def digest(self) -> str:
        """A fingerprint of the content, 32 hex digits: equal prompts have equal digests in every process."""
        digest = hashlib.blake2b(
            _head_digest(self.messages, self.raw, self.thinking_level, self.tools),
            digest_size=16,
        )
        if self.token_ids:
            digest.update(repr(self.token_ids).encode())
        if self.text:
            digest.update(self.text.encode("utf-8", "surrogatepass"))
        if self.thinking:
            digest.update(
                b"\0thinking\0" + self.thinking.encode("utf-8", "surrogatepass")
            )
        return digest.hexdigest()


class Extraction(NamedTuple):
    """The answer that a model gave when it was asked to end its own reply, None if it gave none, and what that cost.

    `confidence` is its probability among the labels or words that were allowed, 0 to 1. Where all text was, it is the
    geometric mean of the probabilities of its tokens if log-probabilities were asked for, else None.
    """

    answer: "Answer | None"
    cost: "Cost"
    confidence: float | None = None


@dataclass(slots=True, eq=False)
class Reading:
    """The answer in the text of a completion, which is read once. `replace` makes a new one: it may change the text."""

    space: "AnswerSpace | None" = None
    answer: "Answer | None" = None

    def by(self, space: "AnswerSpace", *parts: str) -> "Answer | None":
        """The answer that a space reads in the text, given in parts that are joined only if it was not read yet."""
        if self.space is not space:
            self.space, self.answer = space, space.read("".join(parts))
        return self.answer


@value(frozen=True, slots=True)
class Completion:
    """One sequence generated from a prompt.

    `token_ids` are what the engine produced, including a closing end-of-sequence or stop token. `stop` is the stop
    string or token id that matched; with `finish_reason` "stop" and no `stop`, the model ended the sequence itself.
    `index` counts the sequences of this prompt in launch order. `extraction` is there if the model was asked for the
    answer.

    A model that thinks generates two parts: `thinking`, and then the final part, which is `text`. Only `text` is read
    for an answer, rated and shown to other prompts. Thinking is a prefix of the sequence: the first
    `usage.thinking_tokens` of the `token_ids`. `unclosed` says that the sequence ended before its thinking did.
    """

    prompt: Prompt
    text: str
    token_ids: TokenIds
    finish_reason: FinishReason
    stop: str | int | None = None
    usage: Usage = Usage()
    logprobs: Logprobs | None = None
    index: int = 0
    seed: int = 0
    thinking: str = ""
    unclosed: bool = False
    extraction: Extraction | None = None
    reading: Reading = field(
        default_factory=Reading, init=False, repr=False, compare=False
    )

    @property
    def ended(self) -> bool:
        """Whether the model ended the sequence itself."""
        return self.finish_reason == "stop" and self.stop is None

    @property
    def truncated(self) -> bool:
        """Whether a limit or an abort cut the sequence, or its thinking never ended: no answer is read from it."""
        return self.finish_reason != "stop" or self.unclosed

    @property
    def final_token_ids(self) -> TokenIds:
        """The token ids after the thinking."""
        return self.token_ids[self.usage.thinking_tokens :]

    @property
    def continuation(self) -> TokenIds:
        """The token ids to continue from: all but the end-of-sequence or stop token that closed the sequence."""
        return (
            self.token_ids[:-1]
            if self.ended or isinstance(self.stop, int)
            else self.token_ids
        )

    @property
    def boundary(self) -> str:
        """The stop string that closed the sequence: cut from its text, kept in its ids; "" for any other end."""
        return self.stop if isinstance(self.stop, str) else ""

    @property
    def chain(self) -> str:
        """All that was generated since the question, without thinking: earlier steps and this one."""
        return self.prompt.text + self.text

    def chain_of(self, part: Part) -> str:
        """The text of a part of all that was generated since the question."""
        if part == "final":
            return self.chain
        thought = self.prompt.thinking + self.thinking
        return (
            thought
            if part == "thinking" or not self.chain
            else f"{thought}\n\n{self.chain}".lstrip()
        )

    def rows_of(self, rows: tuple[R, ...], part: Part) -> tuple[R, ...]:
        """Those of the rows, one per token, that belong to a part; a server may report only those of the final part."""
        final = self.usage.generated_tokens - self.usage.thinking_tokens
        thought = self.usage.thinking_tokens if len(rows) > final else 0
        return (
            rows
            if part == "all"
            else rows[:thought]
            if part == "thinking"
            else rows[thought:]
        )


@value(frozen=True, slots=True)
class Answer:
    """An answer read from text: as written, its canonical `key`, and the rule that found it."""

    text: str
    key: str
    rule: str = ""


class Blocks(NamedTuple):
    """The groups in which an answer is compared with others (blocking, as in record linkage).

    In its `home` blocks it is compared with all members, in its `guest` blocks only with those at home there. Answers
    that do not meet are never the same, so the number of comparisons stays close to the number of answers.
    """

    home: tuple[str, ...] = ()
    guest: tuple[str, ...] = ()

    def meets(self, other: "Blocks") -> bool:
        """Whether the two are compared."""
        home, others = set(self.home), set(other.home)
        return bool(
            home & others or home & set(other.guest) or others & set(self.guest)
        )


class AnswerSpace(Protocol):
    """The kind of answer a question has."""

    @property
    def name(self) -> str:
        """The space's name on the command line."""

    @property
    def instruction(self) -> str:
        """What the prompt tells the model about the form of the answer."""

    def read(self, text: str) -> Answer | None:
        """The last answer in `text`, or None. Never raises, whatever the text."""

    @property
    def version(self) -> int:
        """The version of the rules by which answers are read; another version may read other answers."""

    def same(self, a: Answer, b: Answer) -> bool | None:
        """Whether `a`, taken as the reference, accepts `b`; None if only `CheckEquivalent` can decide."""

    def blocks(self, answer: Answer) -> Blocks | None:
        """The blocks of an answer; None if that needs slow work, as `FindBlocks` does it."""


CANCELLED = "cancelled"
"""The error of work that was cancelled; only traces have it."""
NOT_RATED = "not rated"
"""The beginning of the error of a rating that the ledger refused."""


@value(frozen=True, slots=True)
class Rating:
    """A verifier's rating of one candidate: `value` in [0, 1], or None and the `error` that prevented it.

    `steps` are the values of its steps, if the verifier rates steps. `parts` are what the value was computed from, as
    the verifier defines it: the factors of a product, the value before a calibration, a judge's mass.
    """

    value: float | None
    cost: "Cost"
    steps: tuple[float, ...] = ()
    error: str = ""
    parts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.error):
            raise ValueError("a rating has either a value or an error")
        for number in (
            *self.steps,
            *self.parts,
            *(() if self.value is None else (self.value,)),
        ):
            if not 0 <= number <= 1:
                raise ValueError(f"a rating is between 0 and 1, not {number}")


@value(frozen=True, slots=True)
class Vote:
    """One equivalence class of answers: its representative, total weight, and number of members."""

    answer: Answer
    weight: float
    count: int


LISTED = 64
"""The most answer classes that a proposal lists."""


class Tail(NamedTuple):
    """The answer classes that a vote state does not list: their number, total weight and total votes."""

    classes: int = 0
    weight: float = 0.0
    votes: int = 0


@value(frozen=True, slots=True)
class VoteState:
    """The state of a vote: the answer classes, heaviest first, and the number of samples counted.

    Proposals list up to 64 classes, which stop rules see; the sum of the others is the `tail`. `streak` is how many of
    the latest samples, in launch order, gave one answer, up to 64. `max_samples` is how many there are without an early
    stop, `length` the mean tokens of those counted; 0 if unknown. `stragglers` still run, longer than most that ended.
    """

    votes: tuple[Vote, ...] = ()
    samples: int = 0
    tied: bool = False
    streak: int = 0
    max_samples: int = 0
    tail: Tail = Tail()
    stragglers: int = 0
    length: float = 0.0
    __pydantic_config__: ClassVar = {"extra": "ignore"}
    """Earlier traces call the stragglers by another name."""

    @property
    def leader(self) -> Answer | None:
        """The representative of the heaviest class; None without votes."""
        return self.votes[0].answer if self.votes else None

    @property
    def share(self) -> float:
        """The leader's share of the total weight, 0 to 1; 0 without votes."""
        total = sum(vote.weight for vote in self.votes) + self.tail.weight
        return self.votes[0].weight / total if total else 0.0

    @property
    def cast(self) -> int:
        """How many samples voted."""
        return sum(vote.count for vote in self.votes) + self.tail.votes

    def listed(self) -> "VoteState":
        """The same vote state with only its heaviest classes, which keeps proposals small."""
        if len(self.votes) <= LISTED:
            return self
        others = self.votes[LISTED:]
        weight, votes = (
            sum([vote.weight for vote in others]),
            sum([vote.count for vote in others]),
        )
        tail = Tail(
            self.tail.classes + len(others),
            self.tail.weight + weight,
            self.tail.votes + votes,
        )
        return replace(self, votes=self.votes[:LISTED], tail=tail)


@value(frozen=True, slots=True, repr=False)
class Proposal:
    """The best answer at one moment, the votes behind it, and the cost of the results received by then.

    `cost` does not include work in flight, so the curve of proposals depends only on the replies.
    """

    answer: Answer | None
    vote_state: VoteState
    cost: "Cost"

    @property
    def short(self) -> str:
        """The answer on one line of at most 60 characters."""
        return printable(self.answer.text) if self.answer else "no answer"

    def __repr__(self) -> str:
        votes = f"{self.vote_state.share:.0%} of the vote after {counted(self.vote_state.samples, 'sample')}"
        return f"<Proposal: {self.short!r}, {votes}, {self.cost.tokens:,} tokens>"

    def _repr_html_(self) -> str:
        """The same, for a notebook."""
        return f"<code>{escape(repr(self))}</code>"


@value(frozen=True, slots=True)
class CutSamples:
    """How many samples of a question were cut at `max_tokens`, and how many of these were still thinking.

    `option` is what limited them, where a strategy has an option of its own for that.
    """

    cut: int = 0
    samples: int = 0
    thinking: int = 0
    max_tokens: int = 0
    option: str = "max_tokens"

    def line(self, option: str = "max_tokens") -> str:
        """The numbers in words, with the option to raise; empty where nothing was cut."""
        if not self.cut:
            return ""
        share = f"{self.cut:,} of {counted(self.samples, 'sample')} {'was' if self.cut == 1 else 'were'} cut"
        thinking = (
            f", {self.thinking:,} of them while thinking" if self.thinking else ""
        )
        raised = option if self.option == "max_tokens" else self.option
        return f"{share} at max_tokens={self.max_tokens}{thinking}: raise {raised}"
