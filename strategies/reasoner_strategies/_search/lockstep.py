"""Chains that grow side by side by the same number of tokens, so that their order depends on tokens and not on time."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from reasoner.strategy import Plan, sample_each
from reasoner.types import SamplingParams
from reasoner_strategies._search.steps import Path, Stepping


def lockstep(params: SamplingParams, every: int) -> Stepping:
    """Chains that grow by `every` tokens at a time until the model ends them."""
    return Stepping(params, separator="", step_tokens=every, max_steps=params.max_tokens + 1)


def advance(stepping: Stepping, chains: Sequence[Path]) -> Plan[list[Path]]:
    """The same chains, each open one a round further; all open ones have the same number of tokens, before and after.

    A chain is cut if the budget refused it, or gave it fewer tokens than the others.
    """
    open_chains = [chain for chain in chains if chain.open]
    params = stepping.draws(open_chains[0])
    drawn = deque((yield from sample_each([chain.prompt for chain in open_chains], params=params)))
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
