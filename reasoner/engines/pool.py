"""An engine that replays recorded answers: a file of questions, each with a model's answers or chains of thought."""

import asyncio
import io
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from reasoner.engine import (
    Continuation,
    EngineUnavailable,
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
from reasoner.system.files import complaint_of, open_regular
from reasoner.system.printing import counted
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
KnownCount = Annotated[int, Field(ge=0, le=_CONTEXT)]
"""A number of tokens, 0 where it is unknown."""
Score = Annotated[float, Field(gt=0, le=1)]
"""The likelihood of a reply: the geometric mean of its tokens' probabilities."""
Text = Annotated[str, Field(max_length=10_000)]
Reply = Annotated[str, Field(max_length=1 << 20)]
"""The text of a reply."""
Readable = Annotated[
    Text | None,
    # An answer that could not be read is none.
    BeforeValidator(lambda answer: None if answer == "ERR" else answer),
]


class _Chain(BaseModel):
    """A recorded reply: its length in tokens, its answer, its probes as pairs of an answer and how often.

    Its score and its text may be known.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    tokens: Count
    answer: Readable
    probes: tuple[tuple[Readable, Count], ...] = ()
    score: Score | None = None
    text: Reply = ""

    def logprobs(self, tokens: int) -> Logprobs | None:
        """The log-probabilities of a number of tokens: all are the recorded mean, as no more is known."""
        return (
            Logprobs((math.log(self.score),) * tokens)
            if self.score is not None
            else None
        )

    def answer_at(self, tokens: int, every: int) -> str | None:
        """The answer at the end, else of the last probe at or before a number of tokens; None if it has none."""
        if tokens >= self.tokens and self.answer is not None:
            return self.answer
        answer, left = None, tokens // every
        for probe, times in self.probes:
            if left > 0:
                answer, left = probe, left - times
        return answer


class _Line(BaseModel):
    """A recorded question: `answers` with their `tokens`, or `chains` with a probe after each `every` tokens.

    Beside answers, `scores` are their likelihoods, `texts` the replies that have them, and `greedy` is the reply at
    temperature 0. `prompt_tokens` is the length of the question, 0 if it is unknown. Other fields, such as a reference
    answer, are not read.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    question_id: str
    answers: tuple[Text | None, ...] = ()
    tokens: tuple[Count, ...] = ()
    scores: tuple[Score | None, ...] = ()
    texts: tuple[Reply, ...] = ()
    greedy: _Chain | None = None
    chains: tuple[_Chain, ...] = ()
    every: Annotated[int, Field(ge=0, le=_CONTEXT)] = 0
    prompt_tokens: KnownCount = 0

    def greedy_at(self, temperature: float | None) -> _Chain | None:
        """The greedy reply, where it is asked for. Chains have none, as a probe of a chain has temperature 0, too."""
        return None if self.every or temperature else self.greedy


@dataclass(slots=True)
class PoolEngine(FreeEngine):
    """Replays a pool of answers: sample `i` of a question is its answer number `i`, with its tokens.

    `path` is the file with the recorded answers, and `model_id` the folder of the model that gave them, by which their
    FLOPs are known. A reply has its text, where that was recorded, and then its answer. A reply without an answer,
    null, is empty. There are only complete replies to the questions themselves. At temperature 0 each is the recorded
    greedy one, if there is one. A recorded likelihood gives the mean log-probability of a reply, and no other.

    A line may have chains of thought with probes instead of answers. A chain can also be drawn in parts, and be asked
    for its answer at any token: the reply is the last recorded probe's. The text of thinking only says where it
    is, as in `[chain 17: 4,500 of 12,345 tokens]`.
    """

    example: ClassVar[str] = "-e pool:FILE"

    path: str
    model_id: str = ""
    model: ModelInfo = field(init=False, repr=False)
    name: str = field(default="pool", init=False, repr=False)
    notes: tuple[str, ...] = field(default=NOTES, init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    _lines: dict[str, _Line] = field(default_factory=dict, init=False, repr=False)
    _scored: bool = field(default=False, init=False, repr=False)
    _prompt_tokens: int = field(default=1, init=False, repr=False)
    """Of the longest question."""

    def __post_init__(self) -> None:
        self.model = ModelInfo(f"pool of {Path(self.path).name}")

    async def start(self) -> None:
        """Read the file.

        Raises:
            UsageError: it is not a pool; the message names the line.
            EngineUnavailable: the folder holds no model.
        """
        if self._lines:
            return
        lines = _read(Path(self.path))
        chains = [chain for line in lines.values() for chain in line.chains]
        longest = max(chain.tokens for chain in chains)
        self._scored = any(chain.score is not None for chain in chains)
        self.model = replace(
            read_model_info(Path(self.model_id), name=Path(self.model_id).name)
            if self.model_id
            else self.model,
            context=_CONTEXT,
            sampling=SamplingParams(max_tokens=longest),
        )
        self._prompt_tokens = max(line.prompt_tokens or 1 for line in lines.values())
        if not all(line.prompt_tokens for line in lines.values()):
            self.notes += (
                "prompt tokens are unknown: each prompt counts as one cached token",
            )
        if any(line.every for line in lines.values()):
            self.model, self.notes = (
                replace(self.model, thinking=THINKING),
                (
                    *self.notes,
                    "where thinking ends was not recorded: all tokens of a chain but its last one count as thinking",
                    f"what a probe costs was not recorded: each counts as {PROBE_TOKENS} tokens",
                ),
            )
        self._lines = lines

    @property
    def continues(self) -> Continuation | None:
        """As text, where the pool has chains."""
        return "text" if self.model.thinking else None

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The tokens of the longest question, or one where they are unknown, and the generated ones."""
        thinks = still_thinking(
            prompt, self.model.thinking, opened=bool(prompt.messages)
        )
        return RenderedPrompt(
            None,
            self._prompt_tokens + len(prompt.token_ids) + _position(prompt)[1],
            thinks,
        )

    async def sample(self, request: SampleRequest) -> Completion:
        """The recorded reply at the request's index, or the next part of the chain that the prompt continues.

        A reply that `max_tokens` cuts has no answer.

        Raises:
            EngineUnavailable: there is no such reply, or the request is not for a reply to a question.
        """
        request.meter.usage = Usage()
        await asyncio.sleep(0)
        line, (number, start) = self._line(request), _position(request.prompt)
        number = request.index if number is None else number
        thinks, limit = self.model.thinking is not None, request.params.limit
        greedy = line.greedy_at(request.params.temperature)
        chain = greedy or line.chains[number]
        text, thinking, stop, thought = "", "", "", 0
        if thinks and not request.rendered.in_thinking:
            answer, length = (
                chain.answer_at(start, line.every),
                min(PROBE_TOKENS, limit),
            )
            cut = length < PROBE_TOKENS
            if answer is not None and not cut:
                text, stop = probe_reply(answer, request.prompt, request.params)
        else:
            length = min(limit, chain.tokens - start)
            end, cut = start + length, limit < chain.tokens - start
            if thinks:
                thinking = f"[chain {number}: {end:,} of {chain.tokens:,} tokens]"
                thought = min(end, chain.tokens - 1) - start
            if chain.answer is not None and not cut:
                text = (
                    f"{chain.text}\n\nThe answer is \\boxed{{{chain.answer}}}".lstrip()
                )
        asked = (line.prompt_tokens or 1) + start
        # The first sample computes the prompt, and so does a greedy reply, where its length is known.
        first = line.prompt_tokens and (greedy or not (start or request.index))
        usage = Usage(asked, 0 if first else asked, length, thought)
        await self.end_in_turn(request, usage)
        return Completion(
            request.prompt,
            text,
            (),
            "length" if cut else "stop",
            stop or None,
            usage,
            chain.logprobs(length) if request.params.logprobs == 0 else None,
            request.index,
            request.seed,
            thinking,
            unclosed=cut and bool(thinking),
        )

    def _line(self, request: SampleRequest) -> _Line:
        """The recorded question of a request, which has the reply that is asked for. Raises as `sample`."""
        line, prompt, params = (
            self._lines.get(request.question_id),
            request.prompt,
            request.params,
        )
        if line is None:
            raise EngineUnavailable(
                f"{self.path} holds no question {request.question_id!r:.80}: its question ids must be the task's, as "
                "those of the task pool are"
            )
        number, start = _position(prompt)
        continued = (
            number is not None
            and number < len(line.chains)
            and start <= line.chains[number].tokens
        )
        extended = bool(prompt.token_ids or prompt.text or prompt.thinking)
        if not request.original or extended != continued:
            raise EngineUnavailable(
                "a pool holds only complete replies to its questions, and the parts of its chains: use a strategy that "
                "samples them"
            )
        level = prompt.thinking_level
        # Replies without chains have no thinking to leave out.
        if isinstance(level, str) and (line.every or level != NO_THINKING):
            raise EngineUnavailable(
                f"a pool has no replies at thinking={level}: use a strategy that only samples, and no "
                "thinking level but a number of tokens"
            )
        # A reply without an answer is not rated, and may have no score; so may all replies to a question.
        if (
            (params.logprobs is not None and (params.logprobs or not self._scored))
            or request.watch
            or request.floor
        ):
            raise EngineUnavailable(
                "this pool has no such log-probabilities: use a strategy and a verifier that need none"
            )
        if request.index >= len(line.chains) and not (
            continued or line.greedy_at(params.temperature)
        ):
            raise EngineUnavailable(
                f"{self.path} holds {counted(len(line.chains), 'answer')} to {request.question_id!r:.80}, and sample "
                f"{request.index + 1} was requested: draw at most {len(line.chains)} per question"
            )
        if (
            continued
            and request.rendered.in_thinking
            and (request.index or not prompt.thinking.endswith("tokens]"))
        ):
            raise EngineUnavailable(
                "a pool continues a chain once, as it was recorded: insert nothing into its thinking"
            )
        return line


def _position(prompt: Prompt) -> tuple[int | None, int]:
    """The chain that a prompt continues and how many of its tokens it has; None and 0 for a question alone."""
    mark = _MARK.match(prompt.thinking, prompt.thinking.rfind("[chain "))
    return (int(mark[1]), int(mark[2].replace(",", ""))) if mark else (None, 0)


def _read(path: Path) -> dict[str, _Line]:
    """The questions of a pool file, by their ids, each with its chains."""
    lines: dict[str, _Line] = {}
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(
                f"{path} is too large for a pool: at most {MAX_BYTES >> 20} MiB are read"
            )
        with io.TextIOWrapper(open_regular(path), "utf-8") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    line = _line(text, f"{path}:{number}")
                    if line.question_id in lines:
                        raise UsageError(
                            f"{path}:{number} repeats the question {line.question_id!r:.80}"
                        )
                    if lines and bool(line.every) != bool(
                        next(iter(lines.values())).every
                    ):
                        raise UsageError(
                            f"{path}:{number} mixes answers and chains: give a file of each"
                        )
                    lines[line.question_id] = line
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read as a pool: {why}") from None
    if not lines:
        raise UsageError(f"{path} holds no question")
    return lines


def _line(text: str, where: str) -> _Line:
    try:
        line = _Line.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(
            f"{where} is not a recorded question: {complaint_of(error)}"
        ) from None
    if line.chains:
        if line.answers or not line.every:
            raise UsageError(
                f"{where} has chains: give `every`, the tokens from probe to probe, and no answers"
            )
        return line
    if len(line.answers) != len(line.tokens) or not line.answers:
        raise UsageError(
            f"{where} has {len(line.answers)} answers and {len(line.tokens)} token counts: give one count per answer"
        )
    for kind, given in (("score", line.scores), ("text", line.texts)):
        if len(given) not in (0, len(line.answers)):
            raise UsageError(
                f"{where} has {len(line.answers)} answers and {len(given)} {kind}s: give one {kind} per answer, or none"
            )
    chains = tuple(
        _Chain.model_construct(
            tokens=tokens, answer=answer, probes=(), score=score, text=text
        )
        for answer, tokens, score, text in zip(
            line.answers,
            line.tokens,
            line.scores or (None,) * len(line.answers),
            line.texts or ("",) * len(line.answers),
            strict=True,
        )
    )
    return _Line(
        question_id=line.question_id,
        greedy=line.greedy,
        chains=chains,
        prompt_tokens=line.prompt_tokens,
    )
