"""Chains that grow step by step: where a step ends, what may still be drawn, when a chain is done."""

from dataclasses import dataclass, replace
from typing import ClassVar

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Count, Length
from reasoner.strategy import Plan, sample


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A chain from the question to one step: where it continues, its last step, and its counts so far.

    `value` is the verifier's rating of the chain, None without one. `order` is its position in launch order among all
    steps of the search.
    """

    prompt: Prompt
    last: Completion | None = None
    steps: int = 0
    tokens: int = 0
    value: float | None = None
    order: int = 0
    finished: bool = False
    """Whether the model ended the chain, so that it may hold an answer."""
    cut: bool = False
    """Whether the chain ran out of tokens or window before it was finished: it leads nowhere."""

    @property
    def open(self) -> bool:
        """Whether it can continue."""
        return not (self.finished or self.cut)

    def answer(self, question: Question) -> Answer | None:
        """The answer of a finished chain; None of any other."""
        return question.read(self.last) if self.finished and self.last else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions(CheckedOptions):
    """The options of every search over steps, and how its chains grow.

    A step ends at `step`, or after `step_tokens` if above 0; the last of `max_steps` runs to the chain's end. A chain
    has at most `params.max_tokens` tokens. `reserve` tokens are held back at every step: if the search ends before any
    chain has an answer, they finish the best open one.
    """

    step: str = "\n\n"
    step_tokens: Length = 0
    max_steps: Count = 40
    reserve: Length = 128
    params: SamplingParams = SamplingParams()
    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.8)

    def complete(self) -> None:
        if not self.step and not self.step_tokens:
            raise UsageError(
                r'a step must end: set step, as in step="\n\n", or step_tokens'
            )

    def draws(self, path: Path) -> SamplingParams:
        """How the next step of an open chain is drawn."""
        left = self.params.limit - path.tokens
        if path.steps + 1 >= self.max_steps:
            return replace(self.params, max_tokens=left)
        stops = (self.step, *self.params.stop) if self.step else self.params.stop
        return replace(
            self.params, stop=stops, max_tokens=min(self.step_tokens or left, left)
        )

    def grown(self, path: Path, completion: Completion, *, order: int) -> Path:
        """The chain with one more step."""
        tokens = path.tokens + completion.usage.generated_tokens
        stepped = (
            bool(self.step)
            and completion.stop == self.step
            and path.steps + 1 < self.max_steps
        )
        finished = completion.finish_reason == "stop" and not stepped
        stuck = (
            completion.finish_reason == "abort"
            or completion.usage.generated_tokens == 0
        )
        last = completion.finish_reason == "length" and path.steps + 1 >= self.max_steps
        cut = not finished and (stuck or last or tokens >= self.params.limit)
        return Path(
            path.prompt.then(completion),
            completion,
            path.steps + 1,
            tokens,
            None,
            order,
            finished,
            cut,
        )

    def closing(self, path: Path) -> Plan[Path]:
        """Draw an open chain to its end in one request."""
        params = replace(self.params, max_tokens=self.params.limit - path.tokens)
        [completion] = yield from sample(path.prompt, params=params)
        return self.grown(
            replace(path, steps=self.max_steps - 1), completion, order=path.order
        )
