"""Aggregate: groups out of a population of replies are written into better ones, round after round."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from reasoner import Answer, Completion, Prompt, Question, SamplingParams, VoteState
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
from reasoner_strategies._prompts import with_text, without_reply
from reasoner_strategies._voting.pool import proposed
from reasoner_strategies._voting.self_comparison import replies_to

WRITE_ONE: Final = (
    "Compare the candidates: keep what is right, correct what is wrong, and write one complete solution. If all are "
    "wrong, solve the question in another way."
)

Group = tuple[int, ...]
"""The numbers of the replies that are shown together."""


@dataclass(frozen=True, slots=True)
class Aggregate(CheckedOptions):
    """A vote of replies that are rewritten from one another.

    `n` replies are rewritten `rounds` times, each from `k` of the round before.

    The family of RSA (Venkatraman 2025, 2509.26626). The k of each group are drawn without replacement, by the
    question's id and the place in the search. The whole final part of a reply is shown, and never its thinking. A group
    whose answers are equal is not written again: one of its replies takes the slot. If all groups agree, the search
    ends.

    Replies without an answer are not shown; one that was to replace a group leaves its slot to the group's vote. Where
    the candidates would leave less than a quarter of the context window to the reply, fewer are shown, and a note says
    so. Notes tell how many answers are alive after each round. The population votes; replies that were replaced share
    less than one vote and decide ties.
    """

    listed_under: ClassVar[str] = "Revision"
    uses_verifier: ClassVar[bool] = False

    n: Samples = 8
    k: Annotated[Count, Range(at_least=2)] = 4
    rounds: Annotated[int, Range(at_least=0, at_most=100)] = 2
    params: SamplingParams = SamplingParams()

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
            groups = self._groups(question, population, number) if population else []
            classes = {
                group: _classes(question, drawn, tally, group)
                for group in dict.fromkeys(groups)
            }
            if all(len(each) == 1 for each in classes.values()):
                yield from note_stop(
                    f"all groups of round {number} agree"
                    if groups
                    else "no reply has an answer"
                )
                break
            shown = {group: self._fitting(drawn, group, window) for group in classes}
            if cut := sum(len(shown[group]) < len(group) for group in groups):
                yield from note(
                    f"round {number}: {cut} of {self.n} groups show fewer candidates, to fit the window"
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
                f"{max(map(len, left))} of {self.n} slots, {agreed} groups agreed"
            )
        return vote_state.leader

    def _groups(
        self, question: Question, population: Sequence[int], number: int
    ) -> list[Group]:
        """The groups of a round. One of all replies is the same in each slot, so that its prompt is cached."""
        k, everyone = min(self.k, len(population)), self.k >= len(population)
        sources = (
            random.Random(f"{question.id}/{number}/{0 if everyone else slot}")
            for slot in range(self.n)
        )
        groups = (source.sample(population, k) for source in sources)
        # A reply may hold several slots.
        return [tuple(dict.fromkeys(group)) for group in groups]

    def _fitting(self, drawn: Sequence[Completion], group: Group, window: int) -> Group:
        """As many of a group as leave room for a reply, at least one."""
        if not window:
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
        """Write the groups that do not agree, by which `drawn` grows. Returns the population."""
        slots = [slot for slot, group in enumerate(groups) if len(classes[group]) > 1]
        prompts = [
            _rewriting(question, [drawn[index] for index in shown[groups[slot]]])
            for slot in slots
        ]
        population = [max(classes[group], key=len)[0] for group in groups]
        replies = yield from replies_to(prompts, self.params, answers=True)
        for slot, reply in zip(slots, replies, strict=True):
            if reply and question.read(reply):
                population[slot] = len(drawn)
            drawn += [reply] if reply else []
        return population


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


def _rewriting(question: Question, replies: Sequence[Completion]) -> Prompt:
    """The question, candidate replies, and what to do with them."""
    shown = "\n\n".join(
        f"Candidate {number}:\n{reply.chain.strip()}"
        for number, reply in enumerate(replies, 1)
    )
    return with_text(
        without_reply(question.prompt),
        f"Here are candidate solutions of the question above; any of them may be wrong.\n\n{shown}\n\n{WRITE_ONE} "
        f"{question.space.instruction}".rstrip(),
    )
