"""Budget forcing: thinking is cut at a number of tokens, or made to continue, and then the answer is requested."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.answers.asking import opening_of, read_probe
from reasoner.answers.forms import Opening
from reasoner.errors import UsageError, require
from reasoner.models.info import ModelInfo
from reasoner.models.thinking import ThinkingProfile
from reasoner.specs import CheckedOptions, Length, Range
from reasoner.strategy import BudgetExhausted, Plan, Sample, model_info, note, prefill
from reasoner.types import NO_THINKING
from reasoner_strategies._voting.pool import propose_answer

PARAMS = SamplingParams(max_tokens=1 << 17)
CLOSING = Opening("\n\nFinal Answer:", "Final Answer: ")
"""Requests the answer where its kind has no form to open."""


@dataclass(frozen=True, slots=True)
class BudgetForcing(CheckedOptions):
    """One chain with a minimum and a maximum of thinking (s1: Muennighoff 2025, 2501.19393).

    Thinking lasts up to `max_thinking` tokens, forced words included and the end marker not. If the model ends it
    before `min_thinking` tokens, or fewer than `waits` times so far, `wait` is appended and thinking continues; each
    time is one more request. Thinking that the model did not close is closed, and the form of the answer is opened, as
    a probe opens it. The answer has `answer_tokens`; the budget reserves these from the start.

    A model that thinks has its own markers: its thinking is opened where the prompt does not do it, and a mere maximum
    is left to the engine, in one request. For other models, all that comes before the request for the answer is
    thinking. If there is no answer after it, one is read from what such a model wrote before, if the model ended it.

    `params.max_tokens` limits the whole chain if it is less than both lengths together: the answer keeps its tokens,
    but at most half. Without a tokenizer (on some servers) forced words count as no tokens.
    """

    listed_under: ClassVar[str] = "One chain"
    uses_verifier: ClassVar[bool] = False

    max_thinking: Length = 4096
    min_thinking: Length = 0
    waits: Annotated[int, Range(at_least=0)] = 0
    wait: str = "Wait"
    answer_tokens: Annotated[Length, Range(at_least=1)] = 256
    params: SamplingParams = PARAMS

    def complete(self) -> None:
        require(
            self.min_thinking,
            "min_thinking, with this max_thinking,",
            at_most=self.max_thinking,
        )
        if self.params.thinking is not None:
            raise UsageError(
                f"thinking={self.params.thinking} contradicts max_thinking={self.max_thinking}, which limits thinking "
                "here: leave one of them out"
            )
        if self.params.json_schema:
            raise UsageError(
                "json_schema contradicts thinking that is a part of the reply: leave it out"
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
        thought, answer, closed = yield from self._think(question, reserve, profile)
        if profile and closed:
            prompt = yield from prefill(thought, profile.end_text)
            [reply] = yield from self._answering(prompt, reserve, reserve)
            final = question.read(reply)
        else:
            opening = opening_of(question.space) or CLOSING
            prompt = yield from prefill(thought, opening.text, thinking="close")
            [reply] = yield from self._answering(prompt, reserve, reserve)
            probed = reply.extraction.answer if reply.extraction else None
            final = (
                read_probe(question.space, reply.text, opening, cut=reply.truncated)
                or probed
            )
        return (yield from propose_answer(question, final or answer))

    def _capped(
        self, question: Question, reserve: int, profile: ThinkingProfile
    ) -> Plan[Answer | None]:
        """One request, in which the engine ends thinking at its maximum; the text that closes it comes on top."""
        cap = min(self.max_thinking, self.params.limit - reserve)
        prompt = question.prompt.at_level(cap or NO_THINKING)
        closing = (
            spelled(prompt, (yield from prefill(prompt, profile.closing))) if cap else 0
        )
        [reply] = yield from self._answering(prompt, cap + closing + reserve, reserve)
        return (yield from propose_answer(question, question.read(reply)))

    def _answering(
        self, prompt: Prompt, tokens: int, reserve: int
    ) -> Plan[tuple[Completion, ...]]:
        """The reply that gives the answer, of at most `tokens`; the last `reserve` of them are for the answer."""
        option = "answer_tokens" if reserve == self.answer_tokens else "max_tokens"
        params = replace(self.params, max_tokens=tokens)
        reply: tuple[Completion, ...] = yield Sample(
            (prompt,), params=params, limited_by=option
        )
        return reply

    def _think(
        self, question: Question, reserve: int, profile: ThinkingProfile | None
    ) -> Plan[tuple[Prompt, Answer | None, bool]]:
        """Think up to the end, or as far as the budget allows; propose the answers read from it.

        The prompt that the answer continues, the answer that the thinking holds already, and whether the model closed
        its thinking itself, with its end marker.
        """
        params = until_closed(self.params, profile)
        cap = min(self.max_thinking, params.limit - reserve)
        prompt = yield from prefill(question.prompt, "", thinking="open")
        answer, why, used, waits = None, "cut", 0, 0
        while used < cap:
            try:
                [out] = yield Sample(
                    (prompt,),
                    params=replace(params, max_tokens=cap - used),
                    reserve=reserve,
                    answers=False,
                )
            except BudgetExhausted:
                break
            after = yield from still_open(prompt, out, profile)
            grown = (
                spelled(prompt, after) if out.token_ids else out.usage.generated_tokens
            )
            prompt, used = after, used + grown
            if out.truncated:
                break
            answer = yield from propose_answer(question, question.read(out) or answer)
            why = "ended" if closes(out, profile) else "stopped"
            if waits >= self.waits and used >= self.min_thinking:
                break
            longer = yield from prefill(prompt, self.wait)
            forced = spelled(prompt, longer)
            # Without any counted token this would never end.
            if used + forced >= cap or grown + forced == 0:
                break
            prompt, why, used, waits = longer, "cut", used + forced, waits + 1
        yield from note(
            f"thinking {why} after {used} tokens, {waits} forced to continue"
        )
        return prompt, answer, why == "ended"


def until_closed(
    params: SamplingParams, profile: ThinkingProfile | None
) -> SamplingParams:
    """Sampling parameters that end a sequence where the model closes its thinking."""
    if profile is None:
        return params
    if len(profile.end) == 1:
        return replace(
            params,
            stop_token_ids=tuple(dict.fromkeys((*params.stop_token_ids, *profile.end))),
        )
    return replace(params, stop=(*params.stop, profile.end_text), stop_in_thinking=True)


def closes(completion: Completion, profile: ThinkingProfile | None) -> bool:
    """Whether a sequence ended because the model closed its thinking."""
    return profile is not None and completion.stop == (
        profile.end[0] if len(profile.end) == 1 else profile.end_text
    )


def still_open(
    prompt: Prompt, completion: Completion, profile: ThinkingProfile | None
) -> Plan[Prompt]:
    """The prompt that continues a sequence, without a marker that closed its thinking."""
    if profile is None or len(profile.end) == 1 or not closes(completion, profile):
        return prompt.then(completion)
    ids, size = completion.continuation, len(profile.end)
    if ids and ids[-size:] != profile.end:
        # A token may hold the marker's beginning and more: the thinking is encoded again without it.
        return (yield from prefill(prompt, completion.thinking))
    return prompt.extended(
        completion.text, ids[: len(ids) - size], thinking=completion.thinking
    )


def spelled(prompt: Prompt, extended: Prompt) -> int:
    """How many token ids were appended to a prompt."""
    return len(extended.token_ids) - len(prompt.token_ids)
