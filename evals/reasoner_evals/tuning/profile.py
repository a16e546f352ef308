"""The profile of a race: what its samples say of votes of every size, for `auto`, and its promises."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from reasoner.calibration.arm_selection import bolder, promised
from reasoner.calibration.profile import ArmRow, Family, Profile
from reasoner.stopping.rules import RISKS
from reasoner.system.printing import counted, printable
from reasoner_evals.calibration.outcomes import usable
from reasoner_evals.calibration.profiles import Binning, family_of
from reasoner_evals.runs.measures import ArmReading
from reasoner_evals.tasks.graders import GradedQuestion

THRESHOLDS: Final = (0, 0.5, 0.7, 0.9)
"""The values of `abstain_below` that are shown."""
MAX_SPEC_LENGTH: Final = 80
"""Characters of a spec that are shown."""


def profile_of(
    arms: Sequence[ArmReading],
    items: Iterable[GradedQuestion],
    binning: Binning,
    model: str,
    origin: str,
) -> Profile | None:
    """The profile that these arms give; None without a vote, or a question with all results.

    An arm without a single result is left out.
    """
    family = family_of(
        [read for read in arms if usable(read).any()],
        binning,
        {item.question.id: len(item.question.text) for item in items},
        origin,
    )
    if family is None:
        return None
    return Profile(
        model=model,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        families=(family,),
    )


def promises(family: Family) -> Iterator[tuple[str, str]]:
    """What each risk promises, and what abstaining leaves out, with their titles."""
    for index in range(family.bins.count):
        words = printable(family.bins.words(index))
        where = f"{words}: " if words else ""
        row = family.safest(index)
        for risk in RISKS.values():
            yield "promise", f"{where}auto:risk={risk:g}: {_kept(family, index, risk)}"
        curve = (
            f"{threshold:g} answers "
            + (
                f"{100 * covered:.0f} %, {100 * right:.0f} % of them right"
                if covered
                else "none"
            )
            for threshold, (covered, right) in (
                (at, row.trust.answers_above(at)) for at in THRESHOLDS
            )
        )
        yield "abstain", f"{where}abstain_below of auto: {'; '.join(curve)}"


def _kept(family: Family, index: int, risk: float) -> str:
    """The cost of a promise, and how many questions would promise a cheaper one."""
    kept = promised(family, index, risk).row
    text = f"{kept.tokens:,.0f} tokens by {_arm(kept)}"
    if more := bolder(family, index, risk):
        row, count = more
        text += f"; about {counted(count, 'question')} would promise {row.tokens:,.0f} by {_arm(row)}"
    return text


def _arm(row: ArmRow) -> str:
    return printable(row.strategy, limit=MAX_SPEC_LENGTH)
