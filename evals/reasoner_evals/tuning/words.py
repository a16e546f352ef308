"""The race in words."""

import math
from collections.abc import Mapping, Sequence

from reasoner.system.printing import counted, printable
from reasoner_evals.tuning.race import MARGIN, Exit, Race


def why_out(
    out: Exit, specs: Sequence[str], race: Race, errors: Mapping[int, str]
) -> str:
    """Why a candidate is out, in a few words."""
    after = f"after {counted(out.questions, 'question')}"
    if out.why == "failed":
        return f"no result {after}: {printable(errors.get(out.who, ''))}".rstrip(": ")
    if out.why == "over" and race.latest < math.inf:
        share = race.shares[out.who]
        return f"takes {share * race.latest:,.0f} sequential tokens, over the {race.latest:,.0f} of the budget"
    if out.why == "over":
        return f"costs {race.cost(out.who):,.0f} tokens, over the {race.goal:,.0f} of the budget"
    assert out.against is not None
    rival = specs[out.against]
    if out.why == "worse":
        return f"less accurate than {rival} {after} (p = {out.p_value:.2g})"
    if out.why == "behind":
        gap = race.accuracy(out.against) - race.accuracy(out.who)
        return f"{100 * gap:.1f} points behind {rival} {after}; the tokens go to the others, nothing is proved"
    points = f"{100 * MARGIN:g} point"
    return f"costs more than {rival} and is not {points} better, {after} (p = {out.p_value:.2g})"
