"""Early exit: one chain is asked for its answer as it grows, and ends once the answer is sure, or stays the same."""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from reasoner.answers.questions import Question
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.specs import Checked, Count, Length, Range, Share
from reasoner.strategy import Plan, count_votes, model_info, note, note_stop, prefill, probe, sample
from reasoner.types import Answer, Extraction, SamplingParams
from reasoner.voting import Tally
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._voting.pool import propose_answer

THRESHOLD, AGREE = 0.95, 20


@dataclass(frozen=True, slots=True)
class EarlyExit(Checked):
    """One chain that is probed wherever it writes `at`, and after every `every` tokens, and ends early.

    `rule` "confidence" ends it at a trial answer of which the geometric mean of the tokens' probabilities is
    `threshold` or more (DEER: Yang 2025, 2504.15895). "agreement" ends it after `agree` probes in a row with the same
    answer (certaindex: Fu 2024, 2412.20993). A model that thinks then closes its thinking and writes its reply, as in
    the papers; of another one the trial answer counts. Probes are paid. A model that thinks is probed only while it
    thinks; where no probe is possible, or the engine reports no probabilities, the chain runs to its end. Each probe's
    answer is proposed, in case that the budget ends.

    An answer that stays the same is little evidence: few probes lose accuracy. `self_consistency:of=early_exit` votes.
    """

    uses_verifier: ClassVar[bool] = False

    rule: Literal["confidence", "agreement"] = "confidence"
    at: str = "Wait"
    every: Annotated[Length, Range(at_least=1)] = 500
    threshold: Share = THRESHOLD
    agree: Count = AGREE
    params: SamplingParams = SamplingParams()

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.rule == "confidence" and self.agree != AGREE:
            raise UsageError(f"agree={self.agree} has no effect on rule=confidence: leave it out, or set threshold")
        if self.rule == "agreement" and self.threshold != THRESHOLD:
            raise UsageError(
                f"threshold={self.threshold:g} has no effect on rule=agreement: leave it out, or set agree"
            )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Grow and probe until the rule or the model ends the chain."""
        thinks = (yield from model_info()).thinking is not None
        params = replace(self.params, stop_in_thinking=True) if self.at else self.params
        growing = StepOptions(step=self.at, step_tokens=self.every, max_steps=params.limit + 1, params=params)
        probing = replace(self.params, logprobs=self.params.logprobs or 0)
        path, trials = Path(question.prompt), _Trials(question)
        while path.open:
            try:
                [completion] = yield from sample(path.prompt, params=growing.draws(path))
            except BudgetExhausted:
                break
            path = growing.grown(path, completion, order=0)
            if not path.open:
                break
            if thinks and not completion.unclosed:
                path = yield from replace(growing, params=self.params).closing(path)
                break
            extraction = yield from probe(completion, params=probing)
            yield from trials.add(extraction)
            if reason := trials.sure(self.threshold) if self.rule == "confidence" else trials.same(self.agree):
                answer = (yield from self._conclusion(question, path)) if thinks else None
                yield from note_stop(f"{reason}, after {path.tokens:,} tokens")
                return answer or trials.answer
        return (yield from propose_answer(question, path.answer(question) or trials.answer))

    def _conclusion(self, question: Question, path: Path) -> Plan[Answer | None]:
        """The answer of the reply that the model writes where its thinking is closed; None without any."""
        prompt = yield from prefill(path.prompt, "", thinking="close")
        try:
            [reply] = yield from sample(prompt, params=replace(self.params, max_tokens=self.params.limit - path.tokens))
        except BudgetExhausted:
            return None
        answer = question.read(reply)
        return (yield from propose_answer(question, answer)) if answer else None


@dataclass(slots=True)
class _Trials:
    """The trial answers of a chain: the latest one, and how many in a row are the same."""

    question: Question
    answer: Answer | None = None
    """The latest that could be read."""
    _latest: Extraction | None = None
    _streak: int = 0
    _noted: bool = field(default=False)

    def add(self, extraction: Extraction | None) -> Plan[None]:
        """Count the answer of a probe, and propose it."""
        before, self._latest = self._latest, extraction
        if extraction is None or (extraction.answer and extraction.confidence is None and not self._noted):
            what = "no chain could be probed" if extraction is None else "the engine reports no probabilities"
            if not self._noted:
                yield from note(what)
            self._noted = True
        if extraction is None or extraction.answer is None:
            self._streak = 0
            return
        same = before and before.answer and (yield from self._equal(before.answer, extraction.answer))
        self._streak = self._streak + 1 if same else 1
        self.answer = yield from propose_answer(self.question, extraction.answer)

    def _equal(self, a: Answer, b: Answer) -> Plan[bool]:
        tally = Tally(self.question.space)
        for index, answer in enumerate((a, b)):
            tally.add(answer, index=index)
        return len((yield from count_votes(tally)).votes) == 1

    def sure(self, threshold: float) -> str:
        """Why the latest one is sure enough; empty where it is not."""
        latest = self._latest
        if not (latest and latest.answer and latest.confidence is not None and latest.confidence >= threshold):
            return ""
        return f"a trial answer has probability {latest.confidence:.3f} a token, threshold is {threshold:g}"

    def same(self, agree: int) -> str:
        """Why so many are enough; empty where they are not that many."""
        return f"the latest {self._streak} trial answers are the same" if self._streak >= agree else ""
