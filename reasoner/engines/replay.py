"""The engine of a replay: the history has all results, and the engine refuses what the history does not have."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, NoReturn

from reasoner.answers.questions import Question
from reasoner.engine import (
    FreeEngine,
    ModelInfo,
    RenderedPrompt,
    SampleRequest,
    TokenIds,
    Usage,
)
from reasoner.errors import NotRecorded, TraceError
from reasoner.models.thinking import still_thinking
from reasoner.trace.events import Began, Prefilled, Prompted, Sampled, read_trace
from reasoner.trace.history import QuestionHistory, read_histories
from reasoner.types import Completion, Prompt
from reasoner.verifier import FreeVerifier


@dataclass(slots=True)
class ReplayEngine(FreeEngine):
    """Replays the trace at `path` without a model: ask the same question with the same strategy and seed.

    The runner takes the results from the history. The budget is the recorded one. Work that the trace does not have
    is a `NotRecorded` error.
    """

    example: ClassVar[str] = "-e replay:FILE"

    path: str
    name: str = field(default="replay", init=False, repr=False)
    notes: tuple[str, ...] = field(
        default=("replayed: no model was run",), init=False, repr=False
    )
    capacity: int | None = field(default=None, init=False, repr=False)
    model: ModelInfo = field(default=ModelInfo("replay"), init=False, repr=False)
    budget: str = field(default="", init=False, repr=False)
    history: dict[str, QuestionHistory] = field(
        default_factory=dict, init=False, repr=False
    )
    _texts: tuple[str, ...] = field(default=(), init=False, repr=False)
    _heads: dict[str, RenderedPrompt] = field(
        default_factory=dict, init=False, repr=False
    )
    _token_ids: dict[str, TokenIds | None] = field(
        default_factory=dict, init=False, repr=False
    )

    async def start(self) -> None:
        """Read the trace.

        Raises:
            TraceError: it cannot be read, or has no run.
        """
        if self.history:
            return
        histories = read_histories(read_trace(Path(self.path)), source=self.path)
        began = [event for history in histories.values() for event in history.of(Began)]
        if not began:
            raise TraceError(f"the trace {self.path} holds no run: it is empty")
        self.history, self.model, self.budget = (
            histories,
            began[0].model,
            began[0].budget,
        )
        self._texts = tuple(event.text for event in began)
        for history in histories.values():
            for head in history.of(Prompted):
                ids = (0,) * head.tokens if head.exact else None
                self._heads[head.prompt] = RenderedPrompt(
                    ids, head.tokens, head.in_thinking
                )
            self._token_ids |= {
                event.thinking + event.text: event.token_ids
                for event in history.of(Prefilled)
            }

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The recorded number of tokens of the head, and what was generated since."""
        head = self._heads.get(
            replace(prompt, token_ids=(), text="", thinking="").digest
        )
        if head is None:
            known = ", ".join(repr(text[:60]) for text in self._texts[:3])
            asked = prompt.messages[-1].content if prompt.messages else prompt.raw
            raise TraceError(
                f"the trace {self.path} does not hold the prompt {asked[:60]!r}: it is of {known}; ask the same "
                "question, with a strategy that asks the same after the same replies"
            )
        ids = None if head.token_ids is None else head.token_ids + prompt.token_ids
        in_thinking = still_thinking(
            prompt, self.model.thinking, opened=head.in_thinking
        )
        return RenderedPrompt(ids, head.tokens + len(prompt.token_ids), in_thinking)

    async def encode(self, text: str) -> TokenIds | None:
        """The recorded token ids of a text that was appended to a reply."""
        if text not in self._token_ids:
            raise NotRecorded(
                f"the trace {self.path} does not have the token ids of {text[:40]!r}: replay with the same strategy, "
                "seed and stop rule"
            )
        return self._token_ids[text]

    async def sample(self, request: SampleRequest) -> Completion:
        """A recorded sequence that the runner has not used; it looks into the history before it asks the engine."""
        request.meter.usage = Usage()
        name = Sampled, request.prompt.digest, request.index
        history = self.history.get(request.question_id, QuestionHistory())
        for event in history.of(*name):
            request.meter.usage = event.usage
            return event.completion(request.prompt)
        part = "only a part of" if history.holds(*name) else "no"
        raise NotRecorded(
            f"the trace {self.path} holds {part} sample {request.index} of this prompt of question "
            f"{request.question_id}: replay with the same strategy, seed and stop rule"
        )

    def verifier(self) -> "ReplayVerifier":
        """A verifier that refuses what the history does not have."""
        return ReplayVerifier(self.path)


@dataclass(frozen=True, slots=True)
class ReplayVerifier(FreeVerifier):
    """Refuses every rating: the recorded ones are in the history."""

    path: str
    logprobs: int | None = None

    async def score(
        self, question: Question, candidate: Completion, *_: object
    ) -> NoReturn:
        """Raises `NotRecorded`."""
        raise NotRecorded(
            f"the trace {self.path} holds no rating of sample {candidate.index} of question {question.id}, or one that "
            "was cancelled: replay with the same strategy, seed and stop rule"
        )

    bound = score  # type: ignore[assignment] # neither of them returns
