"""One sample: the baseline of every other strategy."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Question, SamplingParams
from reasoner.errors import UsageError
from reasoner.models.info import ModelInfo
from reasoner.specs import CheckedOptions
from reasoner.strategy import Plan, sample
from reasoner_strategies._prompts import with_shots, with_text
from reasoner_strategies._voting.pool import proposed, vote


@dataclass(frozen=True, slots=True)
class Single(CheckedOptions):
    """One sample, greedy by default (chain of thought: Wei 2022, 2201.11903).

    It is not greedy if `temperature` is given or the model thinks.

    `instruction` is added at the end of the user turn, as in "Let's think step by step." (Kojima 2022, 2205.11916).
    `shots` are questions and answers in turn, shown before the question as earlier turns of the chat. A raw prompt gets
    both as text: the question and answer of a shot are joined as they are, with a blank line after them.

    A truncated sequence holds no answer.
    """

    listed_under: ClassVar[str] = "One chain"
    uses_verifier: ClassVar[bool] = False
    free_form: ClassVar[bool] = True
    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.0)

    params: SamplingParams = SamplingParams()
    instruction: str = ""
    shots: tuple[str, ...] = ()

    def complete(self) -> None:
        if len(self.shots) % 2:
            raise UsageError(
                f"shots must be questions and answers in turn, an even number of texts (got {len(self.shots)})"
            )

    def draws_once(self, model: ModelInfo) -> bool:
        """True, with any model."""
        return True

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw one sequence and read its answer."""
        prompt = with_text(with_shots(question.prompt, self.shots), self.instruction)
        drawn = yield from sample(prompt, params=self.params)
        return (yield from proposed(vote(question, drawn))).leader
