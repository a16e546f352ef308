"""What a server with OpenAI's routes sends, as far as it is read, and the sequence gathered from it."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, Field, FiniteFloat

from reasoner.confidence import Cut
from reasoner.engines.openai_http import server_message, tidy
from reasoner.errors import RequestLost
from reasoner.protocols import SampleRequest
from reasoner.types import Completion, FinishReason, Logprobs, TokenIds, Usage

Count = Annotated[int, Field(ge=0)]
_FINISHES: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class ListedModel(BaseModel):
    """A model in the reply of /models; `max_model_len` is vLLM's, in tokens."""

    id: str
    owned_by: str | None = None
    max_model_len: Count | None = None


class ModelList(BaseModel):
    """The reply of /models."""

    data: list[ListedModel]


class TokenizeReply(BaseModel):
    """The reply of vLLM's /tokenize."""

    tokens: list[Count] = Field(min_length=1)
    max_model_len: Count


class PromptDetails(BaseModel):
    """Which part of the prompt came from a cache."""

    cached_tokens: Count | None = None


class CountedUsage(BaseModel):
    """The server's own counts, in tokens; None and 0 where it does not say."""

    prompt_tokens: Count = 0
    completion_tokens: Count | None = None
    prompt_tokens_details: PromptDetails | None = None


class Alternative(BaseModel):
    """A token that might have been sampled; `token` is `token_id:N` where that was asked for."""

    logprob: FiniteFloat
    token: str = ""


class TokenLogprob(Alternative):
    """A token that was sampled, among the most likely ones."""

    top_logprobs: list[Alternative] = []


class ChoiceLogprobs(BaseModel):
    """Of /chat/completions: `content`; of /completions: the other two."""

    content: list[TokenLogprob] | None = None
    token_logprobs: list[FiniteFloat] | None = None
    top_logprobs: list[dict[str, FiniteFloat] | None] | None = None

    def watched(self, watch: TokenIds) -> list[tuple[float, ...]]:
        """For each token the log-probabilities of the watched ids.

        Raises:
            ValueError: one is missing.
        """
        rows: list[tuple[float, ...]] = []
        for token in self.content or []:
            told = {other.token: other.logprob for other in token.top_logprobs}
            if missing := [token_id for token_id in watch if f"token_id:{token_id}" not in told]:
                raise ValueError(f"no log-probability of the watched token {missing[0]}")
            rows.append(tuple(told[f"token_id:{token_id}"] for token_id in watch))
        return rows

    def rows(self) -> list[tuple[float, list[float]]]:
        """For each token its own log-probability and the alternatives'."""
        if self.content is not None:
            return [(token.logprob, [other.logprob for other in token.top_logprobs]) for token in self.content]
        sampled = self.token_logprobs or []
        tops = self.top_logprobs or [None] * len(sampled)
        return [(own, list((top or {}).values())) for own, top in zip(sampled, tops, strict=True)]


class Delta(BaseModel):
    """A piece of a chat reply; some servers put what a model thinks to itself in a field of its own."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class Choice(BaseModel):
    """A piece of one sequence; `stop_reason` and `token_ids` are vLLM's."""

    text: str | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    token_ids: list[Count] | None = None
    logprobs: ChoiceLogprobs | None = None


class Chunk(BaseModel):
    """One event of a stream."""

    choices: list[Choice] = []
    usage: CountedUsage | None = None
    error: object = None


@dataclass(slots=True, eq=False)
class Draft:
    """What has arrived of one sequence."""

    request: SampleRequest
    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    sampled: list[float] = field(default_factory=list)
    top: list[tuple[float, ...]] = field(default_factory=list)
    watched: list[tuple[float, ...]] = field(default_factory=list)
    finish: str = ""
    stop: str | int | None = None
    names_stop: bool = False
    told: CountedUsage | None = None
    untold: int = 0
    chunks: int = 0
    cut: bool = False
    """Whether the sequence fell below its request's floor, and is over."""
    _watch: Cut | None = None

    def __post_init__(self) -> None:
        if self.request.floor:
            self._watch = self.request.floor.watch()

    def add(self, data: bytes) -> None:
        """Take in one event.

        Raises:
            RequestLost: it is an error report, is malformed, or is one of far more than the sequence may have.
        """
        try:
            chunk = Chunk.model_validate_json(data)
            told = [choice.logprobs for choice in chunk.choices[:1] if choice.logprobs]
            rows = [row for logprobs in told for row in logprobs.rows()]
            if watch := self.request.watch:
                self.watched += [row for logprobs in told for row in logprobs.watched(watch)]
        except ValueError as error:
            raise RequestLost(
                f"the server sent a malformed event: {tidy(data.decode('utf-8', 'replace'), 80)}"
            ) from error
        if chunk.error:
            raise RequestLost(f"the server gave up part-way: {server_message(data)}")
        self.chunks += 1
        if self.chunks > 2 * self.request.params.max_tokens + 64:
            raise RequestLost(f"the server did not stop at max_tokens={self.request.params.max_tokens}")
        for choice in chunk.choices[:1]:
            self._extend(choice, rows)
        if chunk.usage:
            self.told, self.untold = chunk.usage, 0

    def _extend(self, choice: Choice, rows: list[tuple[float, list[float]]]) -> None:
        delta = choice.delta or Delta()
        piece = choice.text or delta.content or ""
        if piece:
            self.text.append(piece)
        self.token_ids += choice.token_ids or ()
        kept = self.request.params.logprobs or 0
        self.sampled += [own for own, _ in rows]
        best = [tuple(sorted(others, reverse=True)[:kept]) for _, others in rows] if kept else []
        self.top += best
        if self._watch and not choice.finish_reason:
            self.cut = any(self._watch(row) for row in best if row)
        said = bool(piece or delta.reasoning or delta.reasoning_content)
        self.untold += max(said, len(choice.token_ids or ()), len(rows))
        if choice.finish_reason:
            self.finish, self.stop = choice.finish_reason, choice.stop_reason
            self.names_stop = "stop_reason" in choice.model_fields_set

    @property
    def usage(self) -> Usage:
        """The server's counts and what arrived since; before any, the prompt at its bound and one token a chunk."""
        told = self.told or CountedUsage()
        generated = told.completion_tokens or 0
        if self.untold:
            generated = max(generated, min(generated + self.untold, self.request.params.max_tokens))
        prompt = told.prompt_tokens or self.request.rendered.tokens
        details = told.prompt_tokens_details
        return Usage(prompt, min((details and details.cached_tokens) or 0, prompt), generated)

    def _logprobs(self) -> Logprobs | None:
        if self.request.watch:
            return Logprobs(tuple(self.sampled), watched=tuple(self.watched))
        return None if self.request.params.logprobs is None else Logprobs(tuple(self.sampled), tuple(self.top))

    def completion(self) -> Completion:
        """The finished sequence.

        Raises:
            RequestLost: the stream ended before the sequence did.
        """
        if not (self.finish or self.cut):
            raise RequestLost("the stream ended before the sequence did: the server sent no finish reason")
        request, params = self.request, self.request.params
        stop = self.stop if self.finish == "stop" else None
        if isinstance(stop, int) and stop not in params.stop_token_ids:
            stop = None  # one of the model's own end-of-sequence tokens: some models have several
        return Completion(
            prompt=request.prompt,
            text="".join(self.text),
            token_ids=tuple(self.token_ids),
            finish_reason=_FINISHES.get(self.finish, "abort"),
            stop=stop,
            usage=self.usage,
            logprobs=self._logprobs(),
            index=request.index,
            seed=request.seed,
        )
