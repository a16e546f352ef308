"""Aggregate: groups out of a population of replies are written into better ones, round after round."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final, Literal

from reasoner import Answer, Completion, Prompt, Question, SamplingParams, VoteState
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Count, Range, Samples
from reasoner.strategy import (
    BudgetExhausted,
    Plan,
    Tally,
    count_votes,
    model_info,
    note,
    note_stop,
    sample,
)
from reasoner.types import NO_THINKING, thinking_level
from reasoner_strategies._prompts import with_text, without_reply
from reasoner_strategies._voting.pool import proposed
from reasoner_strategies._voting.self_comparison import replies_to

WRITE: Final = "write"
VOTE: Final = "vote"
WRITE_ONE: Final = (
    "Compare the candidates: keep what is right, correct what is wrong, and write one complete solution. If all are "
    "wrong, solve the question in another way."
)
SUMMARIZE: Final = (
    "Summarize the candidates for somebody who solves the question again: what they agree on, where they differ and "
    "which of them is right there, errors, and what is still open. Do not write a solution."
)

Group = tuple[int, ...]
"""The numbers of the replies that are shown together."""


@dataclass(frozen=True, slots=True)
class Aggregate(CheckedOptions):
    """A vote of replies that are rewritten from one another.

    `n` replies are rewritten `rounds` times, each from `k` of the round before.

    The family of RSA (Venkatraman 2025, 2509.26626), AggLM (Zhao 2025, 2509.06870), PDR (Madaan 2025, 2510.01123),
    PaCoRe (2601.05593) and Squeeze-Evolve (2604.07725), which are the aliases `rsa`, `agglm`, `pdr`, `pacore` and
    `squeeze`. The k of each group are drawn without replacement, by the question's id and the place in the search; the
    last round writes `last` replies, by default n. Thinking is never shown. `message` is what is shown of a reply: its
    "solution", which is the whole final part, its "answer" alone, or a "summary" of the group, without thinking, in at
    most `summary_tokens`.

    A group whose answers are equal is not written again with `agreed=vote`: one of its replies takes the slot. "write"
    writes it like the others. A thinking level, such as none, writes it at that level.
    (Squeeze-Evolve routes by a percentile of the groups' confidence or diversity instead.) If all
    groups agree under "vote", the search ends.

    Replies without an answer are not shown; one that was to replace a group leaves its slot to the group's vote. Where
    the candidates would leave less than a quarter of the context window to the reply, fewer are shown, and a note says
    so. Notes tell how many answers are alive after each round. The population votes; replies that were replaced share
    less than one vote and decide ties.
    """

    listed_under: ClassVar[str] = "Revision"
    uses_verifier: ClassVar[bool] = False

    n: Samples = 8
    k: Count = 4
    rounds: Annotated[int, Range(at_least=0, at_most=100)] = 2
    last: Samples | None = None
    message: Literal["solution", "summary", "answer"] = "solution"
    summary_tokens: Count = 512
    agreed: str = VOTE
    params: SamplingParams = SamplingParams()

    def complete(self) -> None:
        if self.agreed not in (VOTE, WRITE):
            thinking_level(self.agreed, f"agreed, if not {VOTE} or {WRITE},")
        if self.k == 1 and self.agreed == VOTE and self.rounds:
            raise UsageError(
                "k=1 with agreed=vote writes nothing, as a group of one agrees: set agreed=write"
            )

    @property
    def free_form(self) -> bool:
        """Whether it ends with one reply, rather than a vote."""
        return self.last == 1

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw the population, propose its vote, and write it again until no round is left."""
        drawn = list((yield from sample(question.prompt, n=self.n, params=self.params)))
        population = [
            index for index, reply in enumerate(drawn) if question.read(reply)
        ]
        tally, vote_state = yield from _proposed(question, drawn, population)
        first = [members[0] for members in _classes(question, drawn, tally, population)]
        window = (yield from model_info()).context
        for number in range(1, self.rounds + 1):
            size = self.last if self.last and number == self.rounds else self.n
            groups = (
                self._groups(question, population, number, size) if population else []
            )
            classes = {
                group: _classes(question, drawn, tally, group)
                for group in dict.fromkeys(groups)
            }
            if not groups or (
                self.agreed == VOTE and all(len(each) == 1 for each in classes.values())
            ):
                yield from note_stop(
                    f"all groups of round {number} agree"
                    if groups
                    else "no reply has an answer"
                )
                break
            shown = {group: self._fitting(drawn, group, window) for group in classes}
            if cut := sum(len(shown[group]) < len(group) for group in groups):
                yield from note(
                    f"round {number}: {cut} of {size} groups show fewer candidates, to fit the window"
                )
            try:
                population = yield from self._round(
                    question, drawn, groups, shown, classes
                )
            except BudgetExhausted:
                break
            tally, vote_state = yield from _proposed(question, drawn, population)
            agreed = sum(len(classes[group]) == 1 for group in groups)
            left = _classes(question, drawn, tally, population)
            alive = len(
                _classes(
                    question, drawn, tally, [*first, *(members[0] for members in left)]
                )
            )
            yield from note(
                f"round {number}: {len(first) + len(left) - alive} of {len(first)} first answers alive, the leader in "
                f"{max(map(len, left))} of {size} slots, {agreed} groups agreed"
            )
        return vote_state.leader

    def _groups(
        self, question: Question, population: Sequence[int], number: int, size: int
    ) -> list[Group]:
        """The groups of a round. One of all replies is the same in each slot, so that its prompt is cached."""
        k, everyone = min(self.k, len(population)), self.k >= len(population)
        sources = (
            random.Random(f"{question.id}/{number}/{0 if everyone else slot}")
            for slot in range(size)
        )
        groups = (source.sample(population, k) for source in sources)
        # A reply may hold several slots. Summaries are of sets: groups of the same replies share one.
        return [
            tuple(dict.fromkeys(sorted(group) if self.message == "summary" else group))
            for group in groups
        ]

    def _fitting(self, drawn: Sequence[Completion], group: Group, window: int) -> Group:
        """As many of a group as leave room for a reply, at least one."""
        if not window or self.message == "answer":
            return group
        # A quarter of the window is left free for the reply; the request around the candidates takes 128 tokens.
        room, fits = int(0.75 * window) - drawn[0].usage.prompt_tokens - 128, 0
        for index in group:
            # Tokens of the heading of a candidate
            room -= len(drawn[index].final_token_ids) + 8
            fits += room >= 0
        return group[: max(1, fits)]

    def _round(
        self,
        question: Question,
        drawn: list[Completion],
        groups: Sequence[Group],
        shown: Mapping[Group, Group],
        classes: Mapping[Group, list[list[int]]],
    ) -> Plan[list[int]]:
        """Write what is to be written, by which `drawn` grows. Returns the population."""
        texts = {
            group: self._listed(question, [drawn[index] for index in few])
            for group, few in shown.items()
        }
        slots = [
            slot
            for slot, group in enumerate(groups)
            if not (len(classes[group]) == 1 and self.agreed == VOTE)
        ]
        if self.message == "summary":
            needed = tuple(dict.fromkeys(groups[slot] for slot in slots))
            prompts = [
                _request(question, texts[group], SUMMARIZE, "").at_level(NO_THINKING)
                for group in needed
            ]
            params = replace(
                self.params, max_tokens=min(self.summary_tokens, self.params.limit)
            )
            summaries = yield from replies_to(prompts, params)
            texts |= {
                group: f"Here is a summary of earlier attempts.\n\n{summary.text.strip()}"
                for group, summary in zip(needed, summaries, strict=True)
                if summary and summary.text.strip()
            }
        level = None if self.agreed in (VOTE, WRITE) else thinking_level(self.agreed)
        written = {
            group: _request(
                question, text, WRITE_ONE, question.space.instruction
            ).at_level(level if len(classes[group]) == 1 else None)
            for group, text in texts.items()
        }
        population = [max(classes[group], key=len)[0] for group in groups]
        replies = yield from replies_to(
            [written[groups[slot]] for slot in slots], self.params, answers=True
        )
        for slot, reply in zip(slots, replies, strict=True):
            if reply and question.read(reply):
                population[slot] = len(drawn)
            drawn += [reply] if reply else []
        return population

    def _listed(self, question: Question, replies: Sequence[Completion]) -> str:
        """What is shown of a group."""
        answers = ((question.read(reply), reply) for reply in replies)
        texts = [
            answer.text if answer and self.message == "answer" else reply.chain.strip()
            for answer, reply in answers
        ]
        shown = "\n\n".join(
            f"Candidate {number}:\n{text}" for number, text in enumerate(texts, 1)
        )
        return f"Here are candidate solutions of the question above; any of them may be wrong.\n\n{shown}"


def _classes(
    question: Question,
    drawn: Sequence[Completion],
    tally: Tally,
    indices: Sequence[int],
) -> list[list[int]]:
    """These replies, which all have an answer, by class of equal answers."""
    classes: list[tuple[Answer, list[int]]] = []
    for index in indices:
        if answer := question.read(drawn[index]):
            known = next(
                (members for first, members in classes if tally.same(first, answer)),
                None,
            )
            if known is None:
                classes.append((answer, known := []))
            known.append(index)
    return [members for _, members in classes]


def _proposed(
    question: Question, drawn: Sequence[Completion], population: Sequence[int]
) -> Plan[tuple[Tally, VoteState]]:
    """Propose the vote of the population."""
    tally, slots, share = (
        Tally(question.space),
        Counter(population),
        1 / (len(drawn) + 1),
    )
    for index, reply in enumerate(drawn):
        tally.add(question.read(reply), index=index, weight=slots[index] or share)
    return tally, (yield from proposed(count_votes(tally)))


def _request(question: Question, shown: str, task: str, form: str) -> Prompt:
    """The question, what is shown, and what to do with it."""
    return with_text(
        without_reply(question.prompt), f"{shown}\n\n{task} {form}".rstrip()
    )
