"""Early exit: one chain is asked for its answer as it grows, and ends once the answer is sure, or stays the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from reasoner import Answer, Question, SamplingParams
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Count, Length, Range, Share
from reasoner.strategy import (
    BudgetExhausted,
    Plan,
    Tally,
    count_votes,
    model_info,
    note,
    note_stop,
    prefill,
    probe,
    sample,
)
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._voting.pool import propose_answer

THRESHOLD, AGREE = 0.95, 20


@dataclass(frozen=True, slots=True)
class EarlyExit(CheckedOptions):
    """One chain that is probed and ends once its answer lasts.

    It is probed wherever it writes `at`, and after every `every` tokens. `rule` "confidence" ends it at a trial answer
    whose tokens' probabilities have a geometric mean of `threshold` or more (DEER: Yang 2025, 2504.15895; its code
    takes the arithmetic mean, but for Qwen3). "agreement" ends it after `agree` probes in a row with the same answer
    (certaindex: Fu 2024, 2412.20993). A model that thinks then closes its thinking and writes its reply, as in the
    papers; of another one the trial answer counts. Probes are paid. A model that thinks is probed only while it thinks;
    where no probe is possible, or the engine reports no probabilities, the chain runs to its end. Each probe's answer
    is proposed, in case that the budget ends.

    An answer that stays the same is little evidence: few probes lose accuracy. `self_consistency:of=early_exit` votes.
    """

    listed_under: ClassVar[str] = "One chain"
    uses_verifier: ClassVar[bool] = False

    rule: Literal["confidence", "agreement"] = "confidence"
    at: str = "Wait"
    every: Annotated[Length, Range(at_least=1)] = 500
    threshold: Share = THRESHOLD
    agree: Count = AGREE
    params: SamplingParams = SamplingParams()

    def complete(self) -> None:
        if self.rule == "confidence" and self.agree != AGREE:
            raise UsageError(
                f"agree={self.agree} has no effect on rule=confidence: leave it out, or set threshold"
            )
        if self.rule == "agreement" and self.threshold != THRESHOLD:
            raise UsageError(
                f"threshold={self.threshold:g} has no effect on rule=agreement: leave it out, or set agree"
            )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Grow and probe until the rule or the model ends the chain."""
        thinks = (yield from model_info()).thinking is not None
        params = replace(self.params, stop_in_thinking=True) if self.at else self.params
        growing = StepOptions(
            step=self.at,
            step_tokens=self.every,
            max_steps=params.limit + 1,
            params=params,
        )
        probing = replace(self.params, logprobs=self.params.logprobs or 0)
        path, latest, trials, noted = (
            Path(question.prompt),
            None,
            list[Answer | None](),
            "",
        )
        while path.open:
            try:
                [completion] = yield from sample(
                    path.prompt, params=growing.draws(path)
                )
            except BudgetExhausted:
                break
            path = growing.grown(path, completion, order=0)
            if not path.open:
                break
            if thinks and not completion.unclosed:
                path = yield from replace(growing, params=self.params).closing(path)
                break
            extraction = yield from probe(completion, params=probing)
            answer, sure = (
                (extraction.answer, extraction.confidence)
                if extraction
                else (None, None)
            )
            if extraction is None:
                noted = noted or (yield from _noted("no chain could be probed"))
            elif answer and sure is None:
                noted = noted or (
                    yield from _noted("the engine reports no probabilities")
                )
            trials.append(answer)
            latest = (yield from propose_answer(question, answer)) if answer else latest
            if (
                self.rule == "confidence"
                and answer
                and sure is not None
                and sure >= self.threshold
            ):
                why = f"a trial answer has probability {sure:.3f} a token, threshold is {self.threshold:g}"
            elif self.rule == "agreement" and (
                yield from _one_answer(question, trials, self.agree)
            ):
                why = f"the latest {self.agree} trial answers are the same"
            else:
                continue
            answer = (yield from self._conclusion(question, path)) if thinks else None
            yield from note_stop(f"{why}, after {path.tokens:,} tokens")
            return answer or latest
        return (yield from propose_answer(question, path.answer(question) or latest))

    def _conclusion(self, question: Question, path: Path) -> Plan[Answer | None]:
        """The answer of the reply that the model writes where its thinking is closed; None without any."""
        prompt = yield from prefill(path.prompt, "", thinking="close")
        try:
            [reply] = yield from sample(
                prompt,
                params=replace(self.params, max_tokens=self.params.limit - path.tokens),
            )
        except BudgetExhausted:
            return None
        answer = question.read(reply)
        return (yield from propose_answer(question, answer)) if answer else None


def _one_answer(
    question: Question, trials: Sequence[Answer | None], agree: int
) -> Plan[bool]:
    """Whether this many of the latest trial answers are the same."""
    latest, tally = trials[-agree:], Tally(question.space)
    if len(latest) < agree or not all(latest):
        return False
    for index, answer in enumerate(latest):
        tally.add(answer, index=index)
    return len((yield from count_votes(tally)).votes) == 1


def _noted(text: str) -> Plan[str]:
    """A remark in the trace."""
    yield from note(text)
    return text
