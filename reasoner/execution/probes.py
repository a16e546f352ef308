"""Probes: the model ends its own reply, which is continued by an opened form, so that its answer can be read.

Each is looked up in the history, else reserved, sampled, booked as policy tokens without a sample, and recorded. It is
greedy and not one of the plan's sequences: no chain, answer or seed of anything else depends on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reasoner.answers.asking import (
    EXTRACTED_TOKENS,
    copied,
    extraction_prompt,
    opening_of,
    probed,
    read_probe,
)
from reasoner.answers.forms import Opening
from reasoner.answers.questions import Question
from reasoner.answers.reading import Cut
from reasoner.answers.thinking import final_segment
from reasoner.budget import NO_COST, Cost
from reasoner.engine import Continuation, continuation, spellings
from reasoner.errors import BudgetExhausted, EngineError
from reasoner.execution.executor import ANSWER_SPACE_ERRORS, OperationExecutor
from reasoner.execution.work import Inquiry
from reasoner.strategy import NOT_ASKED, Plan, Prefill, Sample, count_votes, propose
from reasoner.trace.events import AnswerExtracted
from reasoner.trace.recorder import SequenceId
from reasoner.types import Answer, Completion, Extraction, SamplingParams, TokenIds
from reasoner.voting import Tally


@dataclass(slots=True)
class Probes:
    """The probes of one question. One that the ledger refuses is missing; the sequence then has no answer."""

    executor: OperationExecutor
    wanted: bool = field(init=False)
    """Whether replies without an answer are probed: the kind of answer wants it, and there is a model to ask."""
    _refused: bool = False
    _answered: bool = False
    """Whether a reply has an answer."""
    _cut: dict[str, list[tuple[Completion, SamplingParams]]] = field(
        default_factory=dict
    )
    """The chains that a limit cut and nothing continued, by the digest of the prompt that would."""
    _fell_back: bool = False
    _costs: list[Cost] = field(default_factory=list)
    _spellings: dict[tuple[str, ...], tuple[TokenIds, ...]] = field(
        default_factory=dict
    )
    _opening: Opening | None = field(init=False)
    _if_cut: Cut = field(init=False)
    _for_fallback: int | None = None

    def __post_init__(self) -> None:
        space = self.executor.question.space
        self._opening, self._if_cut = opening_of(space), getattr(space, "cut", "drop")
        self.wanted = (
            probed(space) and self._opening is not None and self._way is not None
        )

    @property
    def reserve(self) -> int:
        """Tokens that a sequence leaves in the budget for its probe, in case that a limit cuts it.

        The fallback has room only in a limit that counts no prompts. In others it would take half of what is left, as
        the cache may have lost the chain, and chains that were cut at a half cost more right answers than it saves.
        """
        opening = self._opening
        if (
            opening is None
            or self._if_cut == "drop"
            or (self._if_cut == "fallback" and self._answered)
        ):
            return 0
        if self._if_cut == "probe":
            # Tokens of the text that a probe forces, in most tokenizers: what closes thinking and opens a
            # form
            return 40 + opening.tokens
        if self._for_fallback is None:
            self._for_fallback = self._fallback_reserve(opening)
        return self._for_fallback

    def _fallback_reserve(self, opening: Opening) -> int:
        budgets = [ledger.budget for ledger in self.executor.admission.ledger.lineage]
        limits = [each.generated for each in budgets if each.generated is not None]
        if not limits or any(
            getattr(budget, unit) is not None
            for budget in budgets
            # The limits of a budget that count prompts
            for unit in ("tokens", "usd")
        ):
            return 0
        tokens = EXTRACTED_TOKENS if self._way == "never" else opening.tokens
        return tokens if min(limits) >= 2 * tokens else 0

    @property
    def _way(self) -> Continuation | None:
        """How the engine continues a reply; in a replay, whether the recorded run has asked its model."""
        if self.executor.history.source:
            return "exact" if self.executor.history.any_of(AnswerExtracted) else None
        return continuation(self.executor.engine)

    async def read(
        self, completion: Completion, op: Sample, sequence: SequenceId
    ) -> Completion:
        """A sequence with the answer of a probe, where it ended, or may be cut, and no form has one."""
        finish, kind = completion.finish_reason, self._if_cut
        cut = finish == "length"
        self._cut.pop(sequence.digest, None)
        empty = not (
            completion.usage.thinking_tokens or completion.chain_of("all").strip()
        )
        if not (completion.ended or cut) or empty:
            return completion
        if self.executor.read(completion):
            self._answered = True
            return completion
        if cut and kind != "probe":
            if kind == "fallback":
                child = completion.prompt.then(completion).digest
                self._cut.setdefault(child, []).append((completion, op.params))
            return completion
        if completion.unclosed and not cut:
            return completion
        try:
            extraction = await self.probe(
                sequence.op,
                completion,
                op.params,
                at=sequence.at + completion.usage.generated_tokens,
            )
        except BudgetExhausted:
            self._refused = True
            return completion
        self._answered = self._answered or bool(extraction and extraction.answer)
        return replace(completion, extraction=extraction)

    def cut_chains(self) -> list[tuple[Completion, SamplingParams]]:
        """The chains that a limit cut and nothing continued, where no reply has an answer."""
        cut = [chain for chains in self._cut.values() for chain in chains]
        cut.sort(key=lambda entry: (entry[0].index, entry[0].prompt.digest))
        self._cut.clear()
        self._fell_back = bool(cut) and not self._answered
        return cut if self._fell_back else []

    async def probe(
        self, op: int, chain: Completion, params: SamplingParams, *, at: int
    ) -> Extraction | None:
        """What the model says is the answer of a chain; None where the question or the engine allows no probe.

        It starts at the virtual time `at`.

        An engine that cannot continue a reply gets a second prompt that quotes it.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            NotRecorded: a replay does not have it.
        """
        executor, digest = self.executor, chain.prompt.digest
        opening, way = self._opening, self._way
        if opening is None or way is None:
            return None
        values: dict[str, Any] = {
            "prompt": digest,
            "index": chain.index,
            "text": "",
            "answer": None,
            "confidence": None,
        }
        inquiry = Inquiry(
            executor,
            op,
            AnswerExtracted,
            (digest, chain.index),
            "probe",
            NOT_ASKED,
            values,
            at,
        )

        async def ask() -> None:
            if way == "never":
                await self._quote(inquiry, chain, params)
            else:
                await self._continue(
                    inquiry, chain, opening, params, exact=way == "exact"
                )

        sample = (
            f"the answer in sample {chain.index} of question {executor.question.id}"
        )
        missing = f"{sample}: replay with the same kind of answer, strategy and budget"
        event = inquiry.recorded(missing) or await inquiry.outcome(ask)
        self._costs.append(event.cost)
        # Samples that another run has drawn, with their probes, start at other virtual times there.
        cost = event.cost.taking(0).until(at + event.cost.generated_tokens)
        return Extraction(event.answer, cost, event.confidence)

    async def _continue(
        self,
        inquiry: Inquiry[AnswerExtracted],
        chain: Completion,
        opening: Opening,
        params: SamplingParams,
        *,
        exact: bool,
    ) -> None:
        """Close the thinking of the chain, and continue it with the opening of a form."""
        executor, space = self.executor, self.executor.question.space
        op = Prefill(chain.prompt.then(chain), opening.text, "close")
        prompt, _, ids = await executor.extended(op, await executor.render(op.prompt))
        greedy = SamplingParams(
            temperature=0.0,
            max_tokens=opening.tokens,
            stop=opening.stop,
            lora=params.lora,
        )
        cut = False
        if spelled := await self._spelled(opening.words) if ids and exact else ():
            watch = tuple(token for tokens in spelled for token in tokens)
            completion = await inquiry.reply(
                prompt, replace(greedy, max_tokens=1), watch=watch
            )
            rows = completion.logprobs.watched if completion.logprobs else ()
            if not rows:
                raise EngineError(
                    "the engine reports no log-probabilities of chosen tokens"
                )
            chances = iter([math.exp(logprob) for logprob in rows[0]])
            masses = [math.fsum(next(chances) for _ in tokens) for tokens in spelled]
            likeliest = max(range(len(masses)), key=masses.__getitem__)
            text = opening.words[likeliest]
            inquiry.values["confidence"] = (
                masses[likeliest] / math.fsum(masses) if masses[likeliest] else None
            )
        else:
            schema, logprobs = (
                params.json_schema if exact else "",
                None if params.logprobs is None else 0,
            )
            completion = await inquiry.reply(
                prompt, replace(greedy, json_schema=schema, logprobs=logprobs)
            )
            text, cut = completion.text, completion.truncated
            if (
                logprobs is not None
                and completion.logprobs
                and (sampled := completion.logprobs.sampled)
            ):
                inquiry.values["confidence"] = math.exp(
                    math.fsum(sampled) / len(sampled)
                )
        inquiry.values["text"] = text
        with ANSWER_SPACE_ERRORS:
            inquiry.values["answer"] = read_probe(space, text, opening, cut=cut)

    async def _spelled(self, words: tuple[str, ...]) -> tuple[TokenIds, ...]:
        """The tokens of each word; none where one has no token of its own."""
        if words and words not in self._spellings:
            spelled = [await spellings(self.executor.engine, word) for word in words]
            self._spellings[words] = tuple(tokens or () for tokens in spelled)
        known = self._spellings.get(words, ())
        # The most tokens that an engine watches at once
        return known if all(known) and sum(map(len, known)) <= 128 else ()

    async def _quote(
        self,
        inquiry: Inquiry[AnswerExtracted],
        chain: Completion,
        params: SamplingParams,
    ) -> None:
        """Ask by a second prompt, which quotes the end of the reply."""
        question = self.executor.question
        prompt = extraction_prompt(
            question, (final_segment(chain.chain) or chain.thinking).strip()
        )
        greedy = SamplingParams(
            temperature=0.0, max_tokens=EXTRACTED_TOKENS, lora=params.lora
        )
        completion = await inquiry.reply(prompt, greedy)
        inquiry.values["text"] = completion.text
        if not completion.truncated:
            with ANSWER_SPACE_ERRORS:
                inquiry.values["answer"] = copied(question.space, completion.text)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the probes cost, if there are any, and whether some are missing."""
        notes = []
        if self._costs:
            cost, count = sum(self._costs, NO_COST), len(self._costs)
            cached = (
                f", {cost.cached_tokens:,} more from the cache"
                if cost.cached_tokens
                else ""
            )
            replies = f"{count:,} {'reply' if count == 1 else 'replies'}"
            why = (
                ", cut by a limit, as no reply has an answer" if self._fell_back else ""
            )
            notes.append(
                f"probed for the answer: {replies}{why}: {cost.tokens:,} tokens{cached}"
            )
        if self._refused:
            notes.append(
                "the budget did not suffice to probe every reply without an answer"
            )
        return tuple(notes)


def probed_vote(
    question: Question, extractions: Sequence[Extraction | None]
) -> Plan[Answer | None]:
    """The vote of what probes have said."""
    tally = Tally(question.space)
    for index, extraction in enumerate(extractions):
        tally.add(extraction and extraction.answer, index=index)
    state = yield from count_votes(tally)
    yield from propose(state.leader, state)
    return state.leader
