"""An engine that replays a recording: a file with a line for each reply that a model gave to a question."""

import asyncio
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasoner.engine import (
    Continuation,
    EngineUnavailable,
    FinishReason,
    FreeEngine,
    Logprobs,
    ModelInfo,
    RenderedPrompt,
    SampleRequest,
    Usage,
)
from reasoner.engines.chains import PROBE_TOKENS, probe_reply
from reasoner.errors import UsageError
from reasoner.models.geometry import read_model_info
from reasoner.models.thinking import ThinkingProfile, still_thinking
from reasoner.system.files import complaint_of
from reasoner.system.printing import counted
from reasoner.system.tables import UNREADABLE, open_table
from reasoner.types import NO_THINKING, Completion, Prompt, SamplingParams

MAX_BYTES: Final = 1 << 30
NOTES: Final = ("recorded answers: no model was run",)
THINKING: Final = ThinkingProfile(
    "always", (), (), "<think>", "</think>", "</think>\n\n"
)
"""How recorded chains think; their tokens are unknown, so that only text separates the parts."""
_CONTEXT: Final = 1 << 20
_MARK: Final = re.compile(
    r"\[chain (\d{1,7}): (\d{1,3}(?:,\d{3}){0,2}) of [\d,]{1,11} tokens\]"
)

Count = Annotated[int, Field(ge=1, le=_CONTEXT)]
Text = Annotated[str, Field(max_length=10_000)]


class Record(BaseModel):
    """A recorded reply: the question, its answer, its length in tokens.

    `index` is below 0 for the greedy one, and else the place among the samples. `prompt_tokens` is the length of the
    question, 0 if it is unknown. A reply with the `finish` "length" was cut: its answer is what the model said when it
    was asked. `score` is its likelihood, the geometric mean of its tokens' probabilities. `text` is all of it. `probes`
    are its answers after each `every` tokens. Other fields, such as a reference answer, are not read.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    question_id: Text
    index: int = 0
    answer: Text | None
    tokens: Count
    prompt_tokens: Annotated[int, Field(ge=0, le=_CONTEXT)] = 0
    finish: FinishReason = "stop"
    score: Annotated[float, Field(gt=0, le=1)] | None = None
    text: Annotated[str, Field(max_length=1 << 20)] = ""
    probes: tuple[Text | None, ...] | None = None
    every: Count = 500

    @property
    def shown(self) -> str:
        """Its text, and its answer in a box; of one that was cut its text, or how long it is where that is unknown."""
        if self.finish != "stop":
            return (
                self.text or f"[reply {self.index}, cut after {self.tokens:,} tokens]"
            )
        if self.answer is None:
            return ""
        return f"{self.text}\n\nThe answer is \\boxed{{{self.answer}}}".lstrip()

    def logprobs(self, tokens: int) -> Logprobs | None:
        """The log-probabilities of a number of tokens: all are the recorded mean, as no more is known."""
        return (
            Logprobs((math.log(self.score),) * tokens)
            if self.score is not None
            else None
        )

    def answer_at(self, tokens: int) -> str | None:
        """The answer at the end, else of the last probe at or before a number of tokens; None if it has none."""
        if tokens >= self.tokens and self.answer is not None:
            return self.answer
        seen = (self.probes or ())[: tokens // self.every]
        return seen[-1] if seen else None


@dataclass(slots=True)
class _Recorded:
    """A question with its samples, in their order, and its greedy reply."""

    samples: list[Record] = field(default_factory=list)
    greedy: Record | None = None

    @property
    def replies(self) -> list[Record]:
        """All of them."""
        return [*self.samples, *([self.greedy] if self.greedy else [])]

    @property
    def prompt_tokens(self) -> int:
        """The length of the question, 0 if it is unknown."""
        return max(reply.prompt_tokens for reply in self.replies)

    def cut_before(self, prompt: Prompt) -> Record | None:
        """The reply that was cut and that a prompt continues."""
        cut = (reply for reply in self.replies if reply.finish != "stop")
        return next((each for each in cut if prompt.text.startswith(each.shown)), None)


class _Part(NamedTuple):
    """What a request gets of a reply."""

    length: int
    cut: bool
    text: str = ""
    stop: str = ""
    thinking: str = ""
    thought: int = 0


@dataclass(slots=True)
class PoolEngine(FreeEngine):
    """Replays a recording: sample `i` of a question is its sample number `i`, with its tokens.

    `path` is the file of recorded replies, and `model_id` the folder of the model that gave them, by which their FLOPs
    are known. A reply has its text, where that was recorded, and then its answer. A reply without an answer, null, is
    empty. One that was cut is cut here too, and tells its answer when it is asked. There are only complete replies to
    the questions themselves. At temperature 0 each is the recorded greedy one, if there is one. A recorded likelihood
    gives the mean log-probability of a reply, and no other.

    Replies with probes are chains of thought. A chain can be cut and asked for its answer at any token: the reply is
    the last recorded probe's. The text of thinking only says where it is, as in `[chain 17: 4,500
    of 12,345 tokens]`.
    """

    example: ClassVar[str] = "-e pool:FILE"

    path: str
    model_id: str = ""
    model: ModelInfo = field(init=False, repr=False)
    name: str = field(default="pool", init=False, repr=False)
    notes: tuple[str, ...] = field(default=NOTES, init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    _questions: dict[str, _Recorded] = field(
        default_factory=dict, init=False, repr=False
    )
    _scored: bool = field(default=False, init=False, repr=False)
    _prompt_tokens: int = field(default=1, init=False, repr=False)
    """Of the longest question."""
    _longest_cut: int = field(default=0, init=False, repr=False)
    """Tokens of the longest reply that was cut; 0 without any."""

    def __post_init__(self) -> None:
        self.model = ModelInfo(f"pool of {Path(self.path).name}")

    async def start(self) -> None:
        """Read the file.

        Raises:
            UsageError: it is not a recording; the message names the line.
            EngineUnavailable: the folder holds no model.
        """
        if self._questions:
            return
        questions, probed = dict[str, _Recorded](), False
        for record in _records(Path(self.path)):
            question = questions.setdefault(record.question_id, _Recorded())
            probed = probed or record.probes is not None
            if record.index < 0:
                question.greedy = record
            else:
                question.samples.append(record)
        for question in questions.values():
            question.samples.sort(key=lambda record: record.index)
            # A probe of a chain has temperature 0, as a greedy reply has.
            question.greedy = None if probed else question.greedy
        replies = [
            reply for question in questions.values() for reply in question.replies
        ]
        if not replies:
            raise UsageError(f"{self.path} holds no reply")
        self._scored = any(reply.score is not None for reply in replies)
        self._longest_cut = max(
            (reply.tokens for reply in replies if reply.finish != "stop"), default=0
        )
        self.model = replace(
            read_model_info(Path(self.model_id), name=Path(self.model_id).name)
            if self.model_id
            else self.model,
            context=_CONTEXT,
            sampling=SamplingParams(max_tokens=max(reply.tokens for reply in replies)),
            thinking=THINKING if probed else None,
        )
        self._prompt_tokens = max(reply.prompt_tokens or 1 for reply in replies)
        self.notes += tuple(self._unknown(list(questions.values())))
        self._questions = questions

    def _unknown(self, questions: list[_Recorded]) -> Iterator[str]:
        """What was not recorded, and what is taken in its place."""
        if not all(question.prompt_tokens for question in questions):
            yield "prompt tokens are unknown: each prompt counts as one cached token"
        if self.model.thinking:
            yield "where thinking ends was not recorded: all tokens of a chain but its last one count as thinking"
        if self.continues:
            yield f"what a probe costs was not recorded: each counts as {PROBE_TOKENS} tokens"

    @property
    def continues(self) -> Continuation | None:
        """As text, where the pool has chains, or replies that were cut."""
        return "text" if self.model.thinking or self._longest_cut else None

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The tokens of the longest question, or one where they are unknown, and the generated ones."""
        thinks = still_thinking(
            prompt, self.model.thinking, opened=bool(prompt.messages)
        )
        generated = _position(prompt)[1] or (self._longest_cut if prompt.text else 0)
        return RenderedPrompt(
            None, self._prompt_tokens + len(prompt.token_ids) + generated, thinks
        )

    async def sample(self, request: SampleRequest) -> Completion:
        """The recorded reply at the request's index, or the answer of the chain that the prompt closes.

        A reply that `max_tokens` cuts has no answer.

        Raises:
            EngineUnavailable: there is no such reply, or the request is not for a reply to a question.
        """
        request.meter.usage = Usage()
        await asyncio.sleep(0)
        question = self._question(request)
        number, start = _position(request.prompt)
        greedy = None if request.params.temperature else question.greedy
        thinks = self.model.thinking is not None
        number = request.index if number is None else number
        if cut := None if thinks else question.cut_before(request.prompt):
            reply, start, part = cut, cut.tokens, _probed(cut, cut.tokens, request)
        else:
            reply = greedy or question.samples[number]
            part = (
                _probed(reply, start, request)
                if thinks and not request.rendered.in_thinking
                else _part(reply, request, number, thinks=thinks)
            )
        asked = (question.prompt_tokens or 1) + start
        # The first sample computes the prompt, and so does a greedy reply, where its length is known.
        first = question.prompt_tokens and not start and (greedy or not request.index)
        usage = Usage(asked, 0 if first else asked, part.length, part.thought)
        await self.end_in_turn(request, usage)
        return Completion(
            request.prompt,
            part.text,
            (),
            "length" if part.cut else "stop",
            part.stop or None,
            usage,
            reply.logprobs(part.length) if request.params.logprobs == 0 else None,
            request.index,
            request.seed,
            part.thinking,
            unclosed=part.cut and bool(part.thinking),
        )

    def _question(self, request: SampleRequest) -> _Recorded:
        """The recorded question of a request, which has the reply that is asked for. Raises as `sample`."""
        question, prompt, params = (
            self._questions.get(request.question_id),
            request.prompt,
            request.params,
        )
        if question is None:
            raise EngineUnavailable(
                f"{self.path} holds no question {request.question_id!r:.80}: its question ids must be the task's, as "
                "those of the task pool are"
            )
        number, start = _position(prompt)
        thinks, held = self.model.thinking is not None, len(question.samples)
        continued = (
            number is not None
            and number < held
            and start <= question.samples[number].tokens
            if thinks
            else bool(prompt.text) and question.cut_before(prompt) is not None
        )
        extended = bool(prompt.token_ids or prompt.text or prompt.thinking)
        if not request.original or extended != continued:
            raise EngineUnavailable(
                "a pool holds only complete replies to its questions: use a strategy that samples them"
            )
        level = prompt.thinking_level
        # Replies without chains have no thinking to leave out.
        if isinstance(level, str) and (thinks or level != NO_THINKING):
            raise EngineUnavailable(
                f"a pool has no replies at thinking={level}: use a strategy that only samples, and no "
                "thinking level but a number of tokens"
            )
        # A reply without an answer is not rated, and may have no score; so may all replies to a question.
        if (
            params.logprobs is not None and (params.logprobs or not self._scored)
        ) or request.watch:
            raise EngineUnavailable(
                "this pool has no such log-probabilities: use a strategy and a verifier that need none"
            )
        if request.index >= held and not (
            continued or (question.greedy and not params.temperature)
        ):
            raise EngineUnavailable(
                f"{self.path} holds {counted(held, 'sample')} of {request.question_id!r:.80}, and sample "
                f"{request.index + 1} was requested: draw at most {held} per question"
            )
        if number is not None and request.rendered.in_thinking:
            raise EngineUnavailable(
                "a pool holds whole chains, and continues none: use a strategy that draws them in one piece"
            )
        return question


def _probed(reply: Record, start: int, request: SampleRequest) -> _Part:
    """What a reply says when it is asked for its answer after some tokens."""
    answer, length = reply.answer_at(start), min(PROBE_TOKENS, request.params.limit)
    if answer is None or length < PROBE_TOKENS:
        return _Part(length, length < PROBE_TOKENS)
    text, stop = probe_reply(answer, request.prompt, request.params)
    return _Part(length, cut=False, text=text, stop=stop)


def _part(reply: Record, request: SampleRequest, number: int, *, thinks: bool) -> _Part:
    """A reply up to the limit of the request."""
    length = min(request.params.limit, reply.tokens)
    whole = length == reply.tokens
    cut, text = not whole or reply.finish != "stop", reply.shown if whole else ""
    if not thinks:
        return _Part(length, cut, text)
    mark = f"[chain {number}: {length:,} of {reply.tokens:,} tokens]"
    return _Part(
        length, cut, "" if cut else text, thinking=mark, thought=length - (not cut)
    )


def _position(prompt: Prompt) -> tuple[int | None, int]:
    """The chain that a prompt continues and how many of its tokens it has; None and 0 for a question alone."""
    mark = _MARK.match(prompt.thinking, prompt.thinking.rfind("[chain "))
    return (int(mark[1]), int(mark[2].replace(",", ""))) if mark else (None, 0)


def _records(path: Path) -> Iterator[Record]:
    """The replies of a recording, in the order of its lines. Raises UsageError, which names the line."""
    if not path.is_file():
        raise UsageError(f"{path} is not a file: give a recording")
    try:
        with open_table(path) as table:
            for where, values in table.rows(MAX_BYTES):
                if isinstance(values, UsageError):
                    raise values
                yield _record(where, values)
    except UNREADABLE as error:
        raise UsageError(f"{path} cannot be read as a recording: {error}") from None


def _record(where: str, values: dict[str, Any]) -> Record:
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        raise UsageError(
            f"{where} is not a recorded reply: {complaint_of(error)}"
        ) from None
