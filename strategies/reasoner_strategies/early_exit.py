"""Early exit: one chain is asked for its answer as it grows, and ends once the answer is sure."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from reasoner import Answer, Completion, Question, SamplingParams
from reasoner.specs import CheckedOptions, Length, Range, Share
from reasoner.strategy import (
    BudgetExhausted,
    Plan,
    model_info,
    note_stop,
    prefill,
    sample,
)
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._trial import trial_answer
from reasoner_strategies._voting.pool import propose_answer


@dataclass(frozen=True, slots=True)
class EarlyExit(CheckedOptions):
    """One chain that ends once a trial answer is sure (DEER: Yang 2025, 2504.15895).

    It is drawn in segments that end where it writes `at`, or after `every` tokens. After each it is asked for its
    answer; what it says is paid and proposed, in case that the budget ends. It ends where the probabilities of that
    answer's tokens have a geometric mean of `threshold` or more (the paper's code takes the arithmetic mean, but for
    Qwen3). A model that thinks then closes its thinking and writes its reply; of another one the trial answer counts. A
    model that thinks is asked only while it thinks. Where none can be asked, or the engine reports no probabilities,
    the chain runs to its end.

    `self_consistency:of=early_exit` votes.
    """

    listed_under: ClassVar[str] = "One chain"
    uses_verifier: ClassVar[bool] = False

    at: str = "Wait"
    every: Annotated[Length, Range(at_least=1)] = 500
    threshold: Share = 0.95
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw and ask until the answer is sure, or the model ends the chain."""
        thinks = (yield from model_info()).thinking is not None
        params = replace(self.params, stop_in_thinking=True) if self.at else self.params
        segments = StepOptions(
            step=self.at,
            step_tokens=self.every,
            max_steps=params.limit + 1,
            params=params,
        )
        path, latest = Path(question.prompt), None
        try:
            while path.open:
                [part] = yield from sample(path.prompt, params=segments.draws(path))
                path = segments.grown(path, part, order=0)
                if not path.open:
                    break
                trial = None
                if part.unclosed or not thinks:
                    trial = yield from trial_answer(
                        question, path.prompt, self.params, logprobs=0
                    )
                if trial is None or (trial.answer and trial.sure is None):
                    # Nothing tells when to end it.
                    whole = replace(segments, params=self.params)
                    path = yield from whole.closing(path)
                    break
                if trial.answer is None:
                    continue
                latest = yield from propose_answer(question, trial.answer)
                if trial.sure is not None and trial.sure >= self.threshold:
                    yield from note_stop(
                        f"a trial answer has probability {trial.sure:.3f} a token, threshold is {self.threshold:g}, "
                        f"after {path.tokens:,} tokens"
                    )
                    if thinks:
                        left = self.params.limit - path.tokens
                        concluded = yield from self._concluded(path, left)
                        latest = question.read(concluded) or latest
                    break
        except BudgetExhausted:
            pass
        return (yield from propose_answer(question, path.answer(question) or latest))

    def _concluded(self, path: Path, left: int) -> Plan[Completion]:
        """The reply that the model writes where its thinking is closed."""
        closed = yield from prefill(path.prompt, "", thinking="close")
        params = replace(self.params, max_tokens=left)
        [reply] = yield from sample(closed, params=params)
        return reply
