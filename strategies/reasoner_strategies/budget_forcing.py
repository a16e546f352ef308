"""Budget forcing: thinking is cut at a number of tokens, or made to continue, and then the answer is requested."""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from reasoner.errors import BudgetExhausted, UsageError, require
from reasoner.strategy import Plan, Sample, count_votes, note, prefill, propose, sample
from reasoner.types import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.voting import Tally

PARAMS = SamplingParams(max_tokens=1 << 17)
WAIT = "Wait"


class Thought(NamedTuple):
    """Thinking that ended: the prompt that the answer continues, and the answer it already holds."""

    prompt: Prompt
    answer: Answer | None
    ended: bool
    """Whether the model closed its thinking itself, with the end marker."""


@dataclass(frozen=True, slots=True)
class BudgetForcing:
    """One chain whose thinking has a minimum and a maximum length (s1: Muennighoff 2025, 2501.19393).

    Thinking lasts up to `max_thinking` tokens, forced words included and the end marker not. If the model ends it
    before `min_thinking` tokens, or fewer than `waits` times so far, `wait` is appended and thinking continues; each
    time is one more request. `end` is the model's marker of the end of thinking, such as </think>. If it is a single
    token of the model it ends thinking; otherwise only the end of the sequence does, and no marker is written.
    Thinking that the model did not close with the marker is closed, and `closing` requests the answer, which has
    `answer_tokens`; the budget reserves these from the start. The answer is read from `closing` and the text after it;
    if that has none, from the thinking, if the model ended it.

    `params.max_tokens` limits the whole chain if it is less than both lengths together: the answer keeps its tokens,
    but at most half. Without a tokenizer (on some servers) forced words count as no tokens.
    """

    uses_verifier: ClassVar[bool] = False

    max_thinking: int = 4096
    min_thinking: int = 0
    waits: int = 0
    wait: str = WAIT
    end: str = "</think>"
    closing: str = "Final Answer:"
    answer_tokens: int = 256
    params: SamplingParams = PARAMS

    def __post_init__(self) -> None:
        require(self.max_thinking, "max_thinking", at_least=0)
        require(self.min_thinking, "min_thinking", at_least=0)
        require(self.min_thinking, "min_thinking, with this max_thinking,", at_most=self.max_thinking)
        require(self.waits, "waits", at_least=0)
        require(self.answer_tokens, "answer_tokens", at_least=1)
        if not self.wait:
            raise UsageError("wait must not be empty: give a word, as in wait=Wait")
        if self.wait != WAIT and not (self.waits or self.min_thinking):
            raise UsageError(
                f"wait={self.wait!r} has no effect: nothing is forced without waits or min_thinking; set one"
            )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Think, close, answer."""
        reserve = min(self.answer_tokens, max(1, self.params.limit // 2))
        marked = yield from prefill(question.prompt, self.end)
        marker = spelled(question.prompt, marked)
        stop = marker[0] if len(marker) == 1 else None
        thought = yield from self._think(question, reserve, stop)
        closing = "" if thought.ended else f"\n{self.closing}"
        opening = self.end if thought.ended else f"\n{self.end}" if stop is not None else ""
        prompt = yield from prefill(thought.prompt, opening + closing)
        [reply] = yield from sample(prompt, params=replace(self.params, max_tokens=reserve))
        answer = None if reply.truncated else question.space.read(closing + reply.text)
        answer = answer or thought.answer
        yield from propose_answer(question, answer)
        return answer

    def _think(self, question: Question, reserve: int, stop: int | None) -> Plan[Thought]:
        """Think up to the end, or as far as the budget allows; propose the answers read from it."""
        params = self.params
        if stop is not None and stop not in params.stop_token_ids:
            params = replace(params, stop_token_ids=(*params.stop_token_ids, stop))
        cap = min(self.max_thinking, params.limit - reserve)
        prompt, answer, why, used, waits = question.prompt, None, "cut", 0, 0
        while used < cap:
            try:
                [out] = yield Sample((prompt,), params=replace(params, max_tokens=cap - used), reserve=reserve)
            except BudgetExhausted:
                break
            prompt, grown = prompt.then(out), length(out)
            used += grown
            if out.truncated:
                break
            answer = question.read(out) or answer
            yield from propose_answer(question, answer)
            why = "ended" if stop is not None and out.stop == stop else "stopped"
            if waits >= self.waits and used >= self.min_thinking:
                break
            longer = yield from prefill(prompt, self.wait)
            forced = len(spelled(prompt, longer))
            # Without any counted token this would never end.
            if used + forced >= cap or grown + forced == 0:
                break
            prompt, why, used, waits = longer, "cut", used + forced, waits + 1
        yield from note(f"thinking {why} after {used} tokens, {waits} forced to continue")
        return Thought(prompt, answer, why == "ended")


def spelled(prompt: Prompt, extended: Prompt) -> tuple[int, ...]:
    """The token ids that were appended to a prompt."""
    return extended.token_ids[len(prompt.token_ids) :]


def length(completion: Completion) -> int:
    """The number of tokens in a chain; without the closing token, if the token ids are known."""
    return len(completion.continuation) if completion.token_ids else completion.usage.generated_tokens


def propose_answer(question: Question, answer: Answer | None) -> Plan[None]:
    """Propose the answer of one chain."""
    tally = Tally(question.space)
    tally.add(answer, index=0)
    vote_state = yield from count_votes(tally)
    yield from propose(answer, vote_state)
