"""An engine that replays recorded answers: a file of questions, each with a model's answers and their tokens."""

import asyncio
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasoner.engine import Rendered, SampleRequest
from reasoner.engines import FreeEngine
from reasoner.errors import EngineUnavailable, UsageError
from reasoner.models.info import ModelInfo
from reasoner.system.files import complaint_of, open_regular
from reasoner.types import Completion, Prompt, Usage

MAX_BYTES = 1 << 30
NOTES = ("recorded answers: no model was run", "prompt tokens are unknown: each prompt counts as one cached token")


class _Line(BaseModel):
    """A recorded question. Other fields of its line, such as a reference answer, are not read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    question_id: str
    answers: tuple[str | None, ...]
    tokens: tuple[Annotated[int, Field(ge=1)], ...]


@dataclass(slots=True)
class PoolEngine(FreeEngine):
    """Replays a pool of answers: sample `i` of a question is its answer number `i`, with its tokens.

    `path` is the file with the recorded answers. A reply has only the answer; null is a reply without one. There are no
    log-probabilities, and only complete replies to the questions themselves.
    """

    example: ClassVar[str] = "-e pool:FILE"

    path: str
    model: ModelInfo = field(init=False, repr=False)
    name: str = field(default="pool", init=False, repr=False)
    notes: tuple[str, ...] = field(default=NOTES, init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    _lines: dict[str, _Line] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.model = ModelInfo(f"pool of {Path(self.path).name}", context=1 << 20)

    async def start(self) -> None:
        """Read the file.

        Raises:
            UsageError: it is not a pool; the message names the line.
        """
        self._lines = self._lines or _read(Path(self.path))

    async def render(self, prompt: Prompt) -> Rendered:
        """One token and the generated ones: the length of the question is unknown."""
        return Rendered(None, 1 + len(prompt.token_ids))

    async def sample(self, request: SampleRequest) -> Completion:
        """The recorded answer at the request's index; cut and without text where `max_tokens` is below its length.

        Raises:
            EngineUnavailable: there is no such answer, or the request is not for a complete reply to a question.
        """
        request.meter.usage = Usage()
        await asyncio.sleep(0)
        line = self._line(request)
        answer, length = line.answers[request.index], line.tokens[request.index]
        cut = length > request.params.limit
        length = min(length, request.params.limit)
        text = "" if cut or answer is None else rf"The answer is \boxed{{{answer}}}"
        request.meter.usage = usage = Usage(1, 1, length)
        return Completion(
            request.prompt, text, (), "length" if cut else "stop", usage=usage, index=request.index, seed=request.seed
        )

    def _line(self, request: SampleRequest) -> _Line:
        line, last = self._lines.get(request.question_id), (request.prompt.messages or (None,))[-1]
        if line is None:
            raise EngineUnavailable(
                f"{self.path} holds no question {request.question_id!r:.80}: use the task pool with it"
            )
        if request.prompt.token_ids or last is None or not last.content.startswith(request.question_id):
            raise EngineUnavailable(
                "a pool holds only complete replies to its questions: use a strategy that samples them"
            )
        if request.params.logprobs is not None or request.watch or request.floor:
            raise EngineUnavailable("a pool has no log-probabilities: use a strategy and a verifier that need none")
        if request.index >= len(line.answers):
            raise EngineUnavailable(
                f"{self.path} holds {len(line.answers)} answers to {request.question_id!r:.80}, and sample "
                f"{request.index + 1} was requested: draw at most {len(line.answers)} per question"
            )
        return line


def _read(path: Path) -> dict[str, _Line]:
    lines: dict[str, _Line] = {}
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is too large for a pool: at most {MAX_BYTES >> 20} MiB are read")
        with io.TextIOWrapper(open_regular(path), "utf-8") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    line = _line(text, f"{path}:{number}")
                    if line.question_id in lines:
                        raise UsageError(f"{path}:{number} repeats the question {line.question_id!r:.80}")
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
        raise UsageError(f"{where} is not a recorded question: {complaint_of(error)}") from None
    if len(line.answers) != len(line.tokens) or not line.answers:
        raise UsageError(
            f"{where} has {len(line.answers)} answers and {len(line.tokens)} token counts: give one count per answer"
        )
    return line
