"""How many samples of a stopped vote run side by side, and which are stragglers; pure functions."""

from dataclasses import replace
from typing import Final, Literal

from reasoner.budget import Cost
from reasoner.stopping.rules import MAX_WINDOW, StopRule
from reasoner.types import Answer, Vote, VoteState

Order = Literal["length", "launch"]
"""The order in which samples are counted: by their virtual end (docs/adr/0026-virtual-clock.md), or by launch."""
LAUNCH_WINDOW: Final = 4
"""Samples in flight by default in launch order, where the first one holds up all others."""
ABUNDANCE: Final = 8
"""By length, this many times the samples run that the rule needs before it may stop: the shortest of them come soon.

On recordings of models that think, 4 takes two thirds of the tokens, and a sixth more sequential ones.
"""
STRAGGLER_LENGTH: Final = 0.8
"""The part of the mean length of the finished samples beyond which a running one is a straggler."""


def width(
    rule: StopRule | None, vote_state: VoteState, window: int, order: Order
) -> int:
    """How many samples to have in flight, or in launch order beyond the last one counted; 1 to `window`."""
    each = ABUNDANCE if order == "length" else 1
    return min(window, each * _samples_to_stop(rule, vote_state, -(-window // each)))


def _samples_to_stop(rule: StopRule | None, vote_state: VoteState, most: int) -> int:
    """How many more samples, up to `most`, the rule needs before it may stop, if all of them are for the leader."""
    leader, *others = vote_state.votes or (Vote(Answer("", ""), 0.0, 0),)
    for more in range(1, most if rule else 0):
        votes = (
            Vote(leader.answer, leader.weight + more, leader.count + more),
            *others,
        )
        samples, streak = (
            vote_state.samples + more,
            min(vote_state.streak + more, MAX_WINDOW),
        )
        agreed = replace(
            vote_state,
            votes=votes,
            samples=samples,
            streak=streak,
            tied=False,
            stragglers=0,
        )
        if rule and rule.stop(agreed, Cost()):
            return more
    return max(1, most)
