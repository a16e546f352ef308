"""Budget forcing: thinking is cut at a number of tokens, or made to continue, and then the answer is requested."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple

from reasoner.answers.questions import Question
from reasoner.errors import BudgetExhausted, UsageError, require
from reasoner.models.info import ModelInfo
from reasoner.models.thinking import ThinkingProfile
from reasoner.specs import Checked, Length, Range
from reasoner.strategy import Plan, Sample, count_votes, model_info, note, prefill, propose
from reasoner.types import NO_THINKING, Answer, Completion, Prompt, SamplingParams, TokenIds
from reasoner.voting import Tally

PARAMS = SamplingParams(max_tokens=1 << 17)
WAIT = "Wait"


class ForcedThinking(NamedTuple):
    """Thinking that ended: the prompt that the answer continues, and the answer it already holds."""

    prompt: Prompt
    answer: Answer | None
    ended: bool
    """Whether the model closed its thinking itself, with the end marker."""


class EndMarker(NamedTuple):
    """The marker of the end of thinking, and its token ids where these are always the same.

    Without a text nothing but the end of the sequence ends it.
    """

    text: str = ""
    ids: TokenIds = ()

    def ending(self, params: SamplingParams) -> SamplingParams:
        """Sampling parameters that end a sequence at the marker."""
        if len(self.ids) == 1:
            return replace(params, stop_token_ids=tuple(dict.fromkeys((*params.stop_token_ids, *self.ids))))
        return replace(params, stop=(*params.stop, self.text), stop_in_thinking=True) if self.text else params

    def ended(self, completion: Completion) -> bool:
        """Whether the marker ended a sequence."""
        return completion.stop == (self.ids[0] if len(self.ids) == 1 else self.text)

    def open_after(self, prompt: Prompt, completion: Completion) -> Plan[Prompt]:
        """The prompt that continues a sequence without the marker that ended it."""
        ids, size = completion.continuation, len(self.ids)
        if size == 1 or not self.ended(completion):
            return prompt.then(completion)
        if ids and ids[-size:] != self.ids:
            # A token may hold the marker's beginning and more: what was thought is encoded again without it.
            return (yield from prefill(prompt, completion.thinking))
        return prompt.extended(completion.text, ids[: len(ids) - size], thinking=completion.thinking)


@dataclass(frozen=True, slots=True)
class BudgetForcing(Checked):
    """One chain whose thinking has a minimum and a maximum length (s1: Muennighoff 2025, 2501.19393).

    Thinking lasts up to `max_thinking` tokens, forced words included and the end marker not. If the model ends it
    before `min_thinking` tokens, or fewer than `waits` times so far, `wait` is appended and thinking continues; each
    time is one more request. Thinking that the model did not close is closed, and `closing` requests the answer, which
    has `answer_tokens`; the budget reserves these from the start. The answer is read from `closing` and the text after
    it.

    A model that thinks has its own markers: its thinking is opened where the prompt does not do it, and a mere maximum
    is left to the engine, in one request. For other models, `end` marks the end of thinking. If it is a single token it
    ends thinking; otherwise only the end of the sequence does, and no marker is written. If there is no answer after
    `closing`, one is read from what such a model wrote before it, if the model ended it.

    `params.max_tokens` limits the whole chain if it is less than both lengths together: the answer keeps its tokens,
    but at most half. Without a tokenizer (on some servers) forced words count as no tokens.
    """

    uses_verifier: ClassVar[bool] = False

    max_thinking: Length = 4096
    min_thinking: Length = 0
    waits: Annotated[int, Range(at_least=0)] = 0
    wait: str = WAIT
    end: str = "</think>"
    closing: str = "Final Answer:"
    answer_tokens: Annotated[Length, Range(at_least=1)] = 256
    params: SamplingParams = PARAMS

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        require(self.min_thinking, "min_thinking, with this max_thinking,", at_most=self.max_thinking)
        if self.params.thinking is not None:
            raise UsageError(
                f"thinking={self.params.thinking} contradicts max_thinking={self.max_thinking}, which limits thinking "
                "here: leave one of them out"
            )
        if self.params.json_schema:
            raise UsageError("json_schema contradicts thinking that is a part of the reply: leave it out")
        if not self.wait:
            raise UsageError("wait must not be empty: give a word, as in wait=Wait")
        if self.wait != WAIT and not (self.waits or self.min_thinking):
            raise UsageError(
                f"wait={self.wait!r} has no effect: nothing is forced without waits or min_thinking; set one"
            )

    def draws_once(self, model: ModelInfo) -> bool:
        """Whether thinking has a mere maximum, which the engine keeps where the model thinks."""
        return model.thinking is not None and not (self.waits or self.min_thinking)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Think, close, answer."""
        reserve = min(self.answer_tokens, max(1, self.params.limit // 2))
        model = yield from model_info()
        profile = model.thinking
        if profile and self.draws_once(model):
            return (yield from self._capped(question, reserve, profile))
        marker = yield from self._marker(question.prompt, profile)
        start = (yield from prefill(question.prompt, "", thinking="open")) if profile else question.prompt
        thought = yield from self._think(question, start, reserve, marker)
        closing = "" if thought.ended else f"\n{self.closing}"
        if thought.ended:
            prompt = yield from prefill(thought.prompt, marker.text)
        elif profile:
            prompt = yield from prefill(thought.prompt, closing, thinking="close")
        else:
            prompt = yield from prefill(thought.prompt, (f"\n{marker.text}" if marker.text else "") + closing)
        [reply] = yield from self._answering(prompt, reserve, reserve)
        probed = reply.extraction.answer if reply.extraction else None
        answer = None if reply.truncated else question.space.read(closing + reply.text)
        answer = answer or probed or thought.answer
        yield from propose_answer(question, answer)
        return answer

    def _capped(self, question: Question, reserve: int, profile: ThinkingProfile) -> Plan[Answer | None]:
        """One request, in which the engine ends thinking at its maximum; the text that closes it comes on top."""
        cap = min(self.max_thinking, self.params.limit - reserve)
        prompt = question.prompt.at_level(cap or NO_THINKING)
        closing = len(spelled(prompt, (yield from prefill(prompt, profile.closing)))) if cap else 0
        [reply] = yield from self._answering(prompt, cap + closing + reserve, reserve)
        answer = question.read(reply)
        yield from propose_answer(question, answer)
        return answer

    def _answering(self, prompt: Prompt, tokens: int, reserve: int) -> Plan[tuple[Completion, ...]]:
        """The reply that gives the answer, which has the last `reserve` of so many tokens."""
        option = "answer_tokens" if reserve == self.answer_tokens else "max_tokens"
        params = replace(self.params, max_tokens=tokens)
        reply: tuple[Completion, ...] = yield Sample((prompt,), params=params, limited_by=option)
        return reply

    def _marker(self, prompt: Prompt, profile: ThinkingProfile | None) -> Plan[EndMarker]:
        """What ends thinking: the model's own marker, or `end` if that is one token of the model."""
        if profile:
            return EndMarker(profile.end_text, profile.end)
        ids = spelled(prompt, (yield from prefill(prompt, self.end)))
        return EndMarker(self.end, ids) if len(ids) == 1 else EndMarker()

    def _think(self, question: Question, start: Prompt, reserve: int, marker: EndMarker) -> Plan[ForcedThinking]:
        """Think up to the end, or as far as the budget allows; propose the answers read from it."""
        params = marker.ending(self.params)
        cap = min(self.max_thinking, params.limit - reserve)
        prompt, answer, why, used, waits = start, None, "cut", 0, 0
        while used < cap:
            try:
                [out] = yield Sample(
                    (prompt,), params=replace(params, max_tokens=cap - used), reserve=reserve, answers=False
                )
            except BudgetExhausted:
                break
            after = yield from marker.open_after(prompt, out)
            grown = len(spelled(prompt, after)) if out.token_ids else out.usage.generated_tokens
            prompt, used = after, used + grown
            if out.truncated:
                break
            answer = question.read(out) or answer
            yield from propose_answer(question, answer)
            why = "ended" if marker.ended(out) else "stopped"
            if waits >= self.waits and used >= self.min_thinking:
                break
            longer = yield from prefill(prompt, self.wait)
            forced = len(spelled(prompt, longer))
            # Without any counted token this would never end.
            if used + forced >= cap or grown + forced == 0:
                break
            prompt, why, used, waits = longer, "cut", used + forced, waits + 1
        yield from note(f"thinking {why} after {used} tokens, {waits} forced to continue")
        return ForcedThinking(prompt, answer, why == "ended")


def spelled(prompt: Prompt, extended: Prompt) -> tuple[int, ...]:
    """The token ids that were appended to a prompt."""
    return extended.token_ids[len(prompt.token_ids) :]


def propose_answer(question: Question, answer: Answer | None) -> Plan[None]:
    """Propose the answer of one chain."""
    tally = Tally(question.space)
    tally.add(answer, index=0)
    vote_state = yield from count_votes(tally)
    yield from propose(answer, vote_state)
