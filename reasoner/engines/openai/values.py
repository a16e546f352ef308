"""What a server sends, checked by pydantic: each reply, and each event of a stream, is validated once."""

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, InstanceOf, ValidationError

from reasoner.system.files import complaint_of, parse_json
from reasoner.system.foreign import MAX_PER_REQUEST
from reasoner.system.printing import valid_unicode
from reasoner.types import TokenIds

_T = TypeVar("_T")


class _FirstError(FailFast):
    """Keeps one error of a list: a server may send a long list of nonsense."""

    __hash__ = object.__hash__


Items = Annotated[list[_T], _FirstError()]
Text = InstanceOf[str]
"""A text that may hold one half of a surrogate pair: the other half may be in the next event."""
Count = Annotated[int, Field(ge=0, le=MAX_PER_REQUEST)]
"""A number of tokens."""
TokenNumber = Annotated[int, Field(ge=0, lt=2**31)]
"""A token id."""
# A log-probability is at most 0, up to rounding; servers write -9999 for impossible tokens.
Logprob = Annotated[float, Field(ge=-1e6, le=1e-3)]


class ServerObject(BaseModel):
    """A JSON object of a server. Fields that are not named here are ignored; null counts as missing."""

    model_config = ConfigDict(strict=True, extra="ignore")

    @classmethod
    def read(cls, body: bytes) -> Self:
        """The object in a body.

        Raises:
            ValueError: the body is not JSON, or does not fit; one line says why.
        """
        try:
            if b"\\ud" in body or b"\\uD" in body:
                # One half of a surrogate pair, which pydantic's own reader of JSON refuses.
                return cls.model_validate(parse_json(body))
            # What `model_validate_json` does; an event of a stream is read for each token.
            read: Self = cls.__pydantic_validator__.validate_json(body)
        except ValidationError as error:
            raise ValueError(complaint_of(error)) from None
        return read

    @classmethod
    def known(cls, body: bytes) -> Self | None:
        """The object in a body; None where the body does not fit."""
        try:
            return cls.read(body)
        except ValueError:
            return None


class SentTexts(ServerObject):
    """A piece of a message's content as Mistral's own API types it."""

    text: Text | None = None
    thinking: Items["SentTexts"] | None = None


class SentFunction(ServerObject):
    """The function that a tool call names, and its arguments as JSON; in a stream, pieces of both."""

    name: Text | None = None
    arguments: Text | None = None


class SentCall(ServerObject):
    """A tool call, or in a stream a piece of the call number `index`."""

    index: Count | None = None
    function: SentFunction | None = None


class SentMessage(ServerObject):
    """A message, or in a stream what is added to it."""

    content: Text | Items[SentTexts] | None = None
    reasoning: Text | None = None
    reasoning_content: Text | None = None
    tool_calls: Items[SentCall] | None = None

    @property
    def final(self) -> str:
        """The text of the final part."""
        if isinstance(self.content, list):
            return "".join(piece.text or "" for piece in self.content)
        return self.content or ""

    @property
    def thinking(self) -> str:
        """The thinking under a name of its own; a server that sends it under two names means the same text."""
        if named := self.reasoning or self.reasoning_content:
            return named
        if not isinstance(self.content, list):
            return ""
        return "".join(
            thought.text or ""
            for piece in self.content
            for thought in piece.thinking or ()
        )


class SentToken(ServerObject):
    """A token of the chat route with its log-probability, and its alternatives."""

    token: Text | None = None
    logprob: Logprob
    top_logprobs: Items["SentToken"] | None = None


class SentLogprobs(ServerObject):
    """Log-probabilities in the form of the chat route (`content`) or of the completions route."""

    content: Items[SentToken] | None = None
    token_logprobs: Items[Logprob] | None = None
    top_logprobs: Items[dict[Text, Logprob] | None] | None = None

    def rows(self) -> list[tuple[float, list[float]]]:
        """Each token's log-probability and those of its alternatives, in no order.

        Raises ValueError where the two lists have different lengths.
        """
        if self.content is not None:
            rows = [
                (token.logprob, [other.logprob for other in token.top_logprobs or ()])
                for token in self.content
            ]
        else:
            own = self.token_logprobs or []
            tops = self.top_logprobs or [None] * len(own)
            rows = [
                (mine, [*(top or {}).values()])
                for mine, top in zip(own, tops, strict=True)
            ]
        return [
            (min(own, 0.0), [min(other, 0.0) for other in others])
            for own, others in rows
        ]

    def watched(self, watch: TokenIds) -> Iterator[tuple[float, ...]]:
        """For each token the log-probabilities of the watched ids. Raises ValueError where one is missing."""
        for token in self.content or ():
            by_name = {
                other.token: min(other.logprob, 0.0)
                for other in token.top_logprobs or ()
            }
            try:
                yield tuple(by_name[f"token_id:{token_id}"] for token_id in watch)
            except KeyError as missing:
                raise ValueError(f"no log-probability of {missing}") from None


class SentChoice(ServerObject):
    """A sequence, or in a stream what is added to it."""

    text: Text | None = None
    delta: SentMessage | None = None
    message: SentMessage | None = None
    token_ids: Items[TokenNumber] | None = None
    logprobs: SentLogprobs | None = None
    finish_reason: Text | None = None
    stop_reason: Any = None


class ReportedUsage(NamedTuple):
    """The server's own counts, in tokens; None where it reports none. `thinking` is a part of `generated`."""

    prompt: int | None = None
    generated: int | None = None
    cached: int | None = None
    thinking: int | None = None


class SentDetails(ServerObject):
    """Parts of the counts of prompt tokens and of generated tokens."""

    cached_tokens: Count | None = None
    reasoning_tokens: Count | None = None


_NONE = SentDetails()


class SentUsage(ServerObject):
    """The counts of one request."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Any = None
    prompt_tokens_details: SentDetails | None = None
    completion_tokens_details: SentDetails | None = None

    @property
    def reported(self) -> ReportedUsage:
        """The counts, with thinking in the generated tokens."""
        prompt, generated = self.prompt_tokens, self.completion_tokens
        thinking = (self.completion_tokens_details or _NONE).reasoning_tokens
        if (
            generated is not None
            and thinking
            and self.total_tokens == (prompt or 0) + generated + thinking
        ):
            # Some servers count thinking beside the rest, and only their total has both.
            generated += thinking
        return ReportedUsage(
            prompt,
            generated,
            (self.prompt_tokens_details or _NONE).cached_tokens,
            thinking,
        )


class SentReply(ServerObject):
    """A reply of a sampling route, or one event of its stream; `error` replaces the rest."""

    error: Any = None
    choices: Items[SentChoice] | None = None
    usage: SentUsage | None = None

    @property
    def reported(self) -> ReportedUsage | None:
        """The counts; None where there are none."""
        return (
            self.usage.reported if self.usage and self.usage.model_fields_set else None
        )


class ServedModel(ServerObject):
    """A model in the reply of /models.

    `max_model_len` and `root` are vLLM's: the window in tokens, and the id or path that the model was loaded from.
    `reasoning_parser` says how the model thinks; only `reasoner serve` has it.
    """

    id: Text
    owned_by: Text | None = None
    max_model_len: Count | None = None
    root: Text | None = None
    reasoning_parser: Text = "none"

    @property
    def by_reasoner(self) -> bool:
        """Whether `reasoner serve` serves it, which continues chats by token ids."""
        return self.owned_by == "reasoner"


class ServedModels(ServerObject):
    """The reply of /models."""

    data: Items[ServedModel]

    @property
    def by_id(self) -> dict[str, ServedModel]:
        """The models by id, in the server's order."""
        return {valid_unicode(model.id): model for model in self.data}


class Tokenized(ServerObject):
    """The reply of vLLM's /tokenize: token ids, one at least, the context window, and the tokens as text if asked.

    `in_thinking` says whether the chat opens thinking; only `reasoner serve` has it.
    """

    tokens: Annotated[
        tuple[TokenNumber, ...], _FirstError(), Field(min_length=1, strict=False)
    ]
    max_model_len: Count = 0
    token_strs: Items[Text] | None = None
    in_thinking: bool | None = None


def message_of(body: bytes) -> str:
    """The message of a server's error reply; the whole body where its form is unknown."""
    text = body.decode("utf-8", "replace")
    try:
        part = parse_json(text)
    except ValueError:
        return text
    for key in ("error", "message", "detail"):
        if isinstance(part, dict) and part.get(key):
            part = part[key]
    return part if isinstance(part, str) else text
