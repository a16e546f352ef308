"""Chains that grow side by side, a round of tokens at a time, so that their order is one of tokens and not of time."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from reasoner.plan import Plan, sample_each
from reasoner.types import SamplingParams
from reasoner_strategies._search.steps import Path, Stepping


def in_rounds(params: SamplingParams, every: int) -> Stepping:
    """Chains that grow by `every` tokens at a time until the model ends them."""
    return Stepping(params, separator="", step_tokens=every, max_steps=params.max_tokens + 1)


def advance(stepping: Stepping, chains: Sequence[Path]) -> Plan[list[Path]]:
    """The same chains, each open one a round further; all open ones have the same number of tokens, before and after.

    One that the budget refused is cut, as is one that it gave fewer tokens than the others.
    """
    live = [chain for chain in chains if chain.open]
    params = stepping.draws(live[0])
    drawn = deque((yield from sample_each([chain.prompt for chain in live], params=params)))
    after = []
    for chain in chains:
        if not chain.open:
            after.append(chain)
        elif drawn and drawn[0].prompt == chain.prompt:
            grown = stepping.grown(chain, drawn.popleft(), order=chain.order)
            behind = grown.tokens < chain.tokens + params.max_tokens
            after.append(replace(grown, cut=True) if grown.open and behind else grown)
        else:
            after.append(replace(chain, cut=True))
    return after
