"""What the author of an engine imports: the interface, its requests and what they report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from reasoner.errors import EngineError, EngineUnavailable, RequestLost, UsageError
from reasoner.models.info import ModelInfo
from reasoner.stopping.confidence import ConfidenceFloor
from reasoner.system.values import value
from reasoner.types import (
    NO_LOGPROB,
    Completion,
    FinishReason,
    Logprobs,
    Prompt,
    SamplingParams,
    TokenIds,
    Usage,
)

__all__ = [
    "NO_LOGPROB",
    "CacheOwner",
    "ConfidenceFloor",
    "Engine",
    "EngineError",
    "EngineUnavailable",
    "FinishReason",
    "FreeEngine",
    "LengthTeller",
    "Logprobs",
    "ModelInfo",
    "ProbeEngine",
    "Progress",
    "QuestionHolder",
    "RenderedPrompt",
    "RequestLost",
    "SampleRequest",
    "TextPiece",
    "ThinkingLimiter",
    "TokenIds",
    "TokenTextEngine",
    "Usage",
    "UsageMeter",
    "continuation",
    "limits_thinking",
    "release",
    "reset_caches",
]

NEVER: Final = 1 << 62
"""More tokens than any sequence has."""


@value(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as the model reads it: its token ids and their number; without ids, `tokens` is an upper bound.

    `in_thinking` says whether what follows is thinking: the prompt, or what was generated after it, opened it.
    """

    token_ids: TokenIds | None
    tokens: int
    in_thinking: bool = False


class TextPiece(NamedTuple):
    """A piece of a reply while it is generated: of its thinking or of its final part."""

    text: str
    thinking: bool = False


@dataclass(slots=True)
class UsageMeter:
    """What the engine has computed for one request so far.

    The engine writes it; the runner reads it if the request does not complete. None means unknown: the request is
    then booked at its worst case. `preemptions` is how often the engine took its KV cache away, and computed again what
    it had generated so far, which no usage counts; 0 where the engine does not say.
    """

    usage: Usage | None = None
    preemptions: int = 0


@value(frozen=True, slots=True)
class SampleRequest:
    """One sequence to generate; (`question_id`, `prompt.digest`, `index`) identify it in all runs with the same seed.

    `params.max_tokens` is what the budget granted. `seed` is this sequence's, 0 to 2^63 - 1. A lower
    `priority` goes first. `watch` are up to 128 token ids: the completion has their exact
    log-probabilities at every position, and then no best alternatives. The engine aborts a sequence that falls below
    the `floor`. `interruptible` says whether the runner may cancel this sequence alone before it ends. If it is False,
    an engine may wait for the whole reply. `on_text` receives the parts of the reply piece by piece, where an engine
    has them before the end; the pieces are a beginning of what the completion has, and may be all of it. `progress` is
    there if the runner wants to know how far the sequence is. `original` says whether it is the question's own prompt.
    """

    question_id: str
    prompt: Prompt
    rendered: RenderedPrompt
    params: SamplingParams
    index: int
    seed: int
    priority: int = 0
    watch: TokenIds = ()
    floor: ConfidenceFloor | None = None
    interruptible: bool = True
    original: bool = False
    meter: UsageMeter = field(default_factory=UsageMeter)
    on_text: Callable[[TextPiece], None] | None = field(default=None, compare=False)
    progress: "Progress | None" = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.watch and self.params.logprobs:
            raise UsageError(
                f"logprobs={self.params.logprobs} cannot be combined with watched tokens: keep one"
            )


def silent() -> None:
    """Nobody wants to know."""


@dataclass(slots=True, eq=False)
class Progress:
    """How far a sequence is. Results are delivered in the order of their lengths, as far as these are known.

    An engine that sees tokens as they come calls `reached`, one that knows the length of the reply beforehand awaits
    `until`. With an engine that does neither, results are right too, but each waits for the end of all that may be
    shorter. `due` says whether the sequence must end now; None where it never must. `tokens` are those so far.
    """

    due: Callable[[], bool] | None = None
    tokens: int = 0

    def reached(self, tokens: int) -> bool:
        """The sequence has at least this many tokens. Returns whether the engine must abort it now.

        It may be called from any thread, and for each token.
        """
        self.tokens = tokens
        return self.due is not None and self.due()

    async def until(self, tokens: int) -> None:
        """The sequence will have exactly this many tokens: wait until it may end.

        When it is cancelled, `tokens` are those that an engine would have generated by then, which are to be booked.
        """
        self.tokens = tokens

    def over(self, tokens: int | None) -> None:
        """The request has ended with this many tokens; None where it was lost and the sequence is drawn again."""


class Engine(Protocol):
    """Generates sequences with one model. Many requests may be in flight at once."""

    @property
    def name(self) -> str:
        """The engine's name for people and traces."""

    @property
    def model(self) -> ModelInfo:
        """The model; available after `start`."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What this engine cannot do exactly, such as taking token ids; recorded in the trace."""

    @property
    def capacity(self) -> int | None:
        """Tokens that fit its KV caches at once; None if the engine limits itself."""

    async def start(self) -> None:
        """Make the engine ready. A second call does nothing.

        Raises:
            EngineUnavailable: it cannot be made ready; the message says what to do.
        """

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The prompt as the model reads it. The head is rendered once; generated ids are appended."""

    async def encode(self, text: str) -> TokenIds | None:
        """The token ids of a text without the special tokens of a prompt's beginning; None if they are unknown."""

    async def sample(self, request: SampleRequest) -> Completion:
        """Generate one sequence. Cancelling the awaiting task aborts it in the engine and leaves the meter exact.

        Raises:
            RequestLost: it failed on the way and may be tried again; the meter says what it cost.
            EngineError: it failed for good.
        """

    async def close(self) -> None:
        """Stop and free everything. A second call does nothing."""


class FreeEngine:
    """Base of an engine without a model: nothing to start or to close, and texts have no token ids."""

    __slots__ = ()

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def encode(self, text: str) -> TokenIds | None:
        """None: there are no ids."""
        return None

    async def end_in_turn(self, request: SampleRequest, usage: Usage) -> None:
        """Wait until a sequence with this usage may end; if it is cancelled, the meter says how far it was."""
        progress, meter = request.progress, request.meter
        try:
            if progress:
                await progress.until(usage.generated_tokens)
            meter.usage = usage
        except BaseException:
            tokens = progress.tokens if progress else 0
            meter.usage = replace(
                usage,
                generated_tokens=tokens,
                thinking_tokens=min(tokens, usage.thinking_tokens),
            )
            raise


async def spellings(engine: Engine, word: str) -> TokenIds | None:
    """The single tokens that spell a word, with or without a blank, in either case; None without a tokenizer."""
    tokens: dict[int, None] = {}
    for form in dict.fromkeys((word, word.lower(), word.upper())):
        for text in (form, f" {form}"):
            ids = await engine.encode(text)
            if ids is None:
                return None
            if len(ids) == 1:
                tokens[ids[0]] = None
    return tuple(tokens)


@runtime_checkable
class ThinkingLimiter(Protocol):
    """An engine that can end thinking itself at a number of tokens, as `Prompt.thinking_level` has it."""

    @property
    def limits_thinking(self) -> bool:
        """Whether it does so with the model that it runs."""


def limits_thinking(engine: Engine) -> bool:
    """Whether an engine ends thinking itself at a number of tokens; for others, the runner closes it."""
    # The check of a protocol takes sixty calls, and this is for each sequence.
    return bool(getattr(engine, "limits_thinking", False))


@runtime_checkable
class LengthTeller(Protocol):
    """An engine that sees tokens as they are generated."""

    @property
    def lengths(self) -> Sequence[int]:
        """The tokens of each sequence in flight so far."""


Continuation = Literal["exact", "text", "never"]
"""How an engine continues a reply: by ids, with log-probabilities of chosen tokens; as text; or not at all."""


@runtime_checkable
class ProbeEngine(Protocol):
    """An engine with a model that can be asked for the answer of its own reply (a probe)."""

    @property
    def continues(self) -> Continuation | None:
        """How it continues a reply; None where there is no model to ask. Available after `start`."""


def continuation(engine: Engine) -> Continuation | None:
    """How an engine continues a reply for a probe; None for one that runs no model."""
    way: Continuation | None = getattr(engine, "continues", None)
    return way


def model_of(engine: Engine) -> ModelInfo:
    """What a run knows of an engine's model, with what the engine can do; in a replay, what the recorded run knew."""
    return replace(
        engine.model,
        probed=engine.model.probed or continuation(engine) in ("exact", "text"),
    )


@runtime_checkable
class TokenTextEngine(Protocol):
    """An engine that knows the texts of token ids."""

    async def token_texts(self, ids: TokenIds) -> tuple[str, ...]:
        """The text of each token by itself, which is not valid where a character has several tokens."""


@runtime_checkable
class QuestionHolder(Protocol):
    """An engine or a verifier that keeps something for each question as long as it is open."""

    def release(self, question_id: str) -> None:
        """The question has ended: free what is kept for it. Does nothing for an unknown question."""


def release(question_id: str, *plugins: object) -> None:
    """Tell each plug-in that keeps something for open questions that this one has ended."""
    for plugin in plugins:
        # `QuestionHolder` by its only method, as above.
        if ended := getattr(plugin, "release", None):
            ended(question_id)


@runtime_checkable
class CacheOwner(Protocol):
    """An engine or a verifier with caches that can be emptied, so that later work is charged in full."""

    async def reset_caches(self) -> None:
        """Empty all caches. Nothing may be in flight; before `start` it does nothing."""


async def reset_caches(*plugins: object) -> None:
    """Empty the caches of each plug-in that has any."""
    for plugin in plugins:
        if isinstance(plugin, CacheOwner):
            await plugin.reset_caches()
