"""Profiles for tests: what was measured, as few numbers."""

from collections.abc import Sequence
from pathlib import Path

from reasoner.calibration.profile import ArmRow, Bins, Family, Profile, Trust

VOTE = "self_consistency:n=16"
ONE = "self_consistency:n=1"
TRUST = Trust(
    intercept=0, slope=1, shares=(0.1, 0.9), answered=(200, 200), right=(20, 180)
)
"""A vote is right as often as its smoothed share says."""


def plain_row(**changes: object) -> ArmRow:
    """The baseline of 100 questions, 80 of them answered rightly, with these fields changed."""
    plain = {
        "strategy": VOTE,
        "bin": 0,
        "questions": 100,
        "right": 80,
        "losses": ((0.0, changes.get("questions", 100)),),
        "most": 1,
        "orders": 20,
        "tokens": 4000,
        "sequential_tokens": 500,
        "samples": 16,
        "trust": TRUST,
    }
    return ArmRow.model_validate({**plain, **changes})


def row(
    strategy: str,
    right: float,
    samples: float,
    *,
    bin: int = 0,
    vote: float,
    trust: Trust = TRUST,
) -> ArmRow:
    """An arm that answers this share of 400 questions rightly, at 100 tokens a sample.

    It helps or harms as many as its share differs from the share of the baseline, `vote`.
    """
    questions = 400
    differ, cost = round(abs(vote - right) * questions), 100 * samples
    losses = {0.0: questions - differ} | (
        {1.0 if vote > right else -1.0: differ} if differ else {}
    )
    return plain_row(
        strategy=strategy,
        bin=bin,
        questions=questions,
        right=right * questions,
        losses=tuple(losses.items()),
        most=float(strategy != VOTE),
        tokens=cost,
        samples=samples,
        trust=trust,
    )


def bin_of(
    place: int, one: float, vote: float, **others: tuple[float, float]
) -> tuple[ArmRow, ...]:
    """A bin in which one sample and the vote of 16 are right so often; others are specs with share and samples."""
    return (
        row(ONE, one, 1, bin=place, vote=vote),
        row(VOTE, vote, 16, bin=place, vote=vote),
        *(
            row(spec, share, samples, bin=place, vote=vote)
            for spec, (share, samples) in others.items()
        ),
    )


def family(*rows: ArmRow, bins: Bins | None = None, **changes: object) -> Family:
    """A family of these rows."""
    named = {"baseline": VOTE, "safe": VOTE}
    plain = {
        "task": "sums",
        "questions": 400,
        **named,
        "sample_tokens": 100,
        "origin": "a test",
    }
    return Family.model_validate(
        {"bins": bins or Bins(), "arms": rows, **plain, **changes}
    )


def write_profile(path: Path, *families: Family) -> str:
    """The path of a profile of these families."""
    whole = Profile(model="scripted", created="2026-01-01T00:00:00Z", families=families)
    path.write_text(whole.model_dump_json())
    return str(path)


def calibrated(path: Path, rows: Sequence[ArmRow], bins: Bins | None = None) -> str:
    """The path of a profile of one family."""
    return write_profile(path, family(*rows, bins=bins))
