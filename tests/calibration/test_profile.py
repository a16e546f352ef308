"""The profile: what is refused, what is read back, the bins of questions and the curve of trust."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.profile import (
    ArmRow,
    Bins,
    Family,
    Profile,
    Trust,
    read_profile,
)
from reasoner.errors import UnknownName, UsageError
from tests.calibration import profiles
from tests.calibration.profiles import plain_row

Content = dict[str, Any]

CURVE = Trust(
    intercept=-1,
    slope=2,
    shares=(0.5, 0.7, 0.9),
    answered=(25, 25, 50),
    right=(10, 18, 42),
)


def row(**changes: Any) -> ArmRow:
    return plain_row(trust=CURVE, **changes)


def family(*arms: ArmRow, task: str = "math", bins: Bins | None = None) -> Family:
    return profiles.family(*(arms or (row(),)), task=task, bins=bins)


def profile(*families: Family) -> Profile:
    return Profile(
        model="m", created="2026-01-01T00:00:00Z", families=families or (family(),)
    )


def content() -> Content:
    return dict(profile().model_dump(mode="json"))


# Files


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(profile().model_dump_json())
    assert read_profile(file) == profile()


def test_another_version_is_refused_before_its_content(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps({"v": 1, "planets": []}))
    with pytest.raises(
        UsageError,
        match="written by version 1, and this one reads version 8: calibrate again",
    ):
        read_profile(file)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "{}", '{"v": "one"}', '{"v": 8}', "\0", "\ud800"]
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError, match=r"is not a profile: .*: give a file that"):
        read_profile(file)


def _set(*path: str | int, to: Any) -> Callable[[Content], None]:
    def change(whole: Content) -> None:
        place: Any = whole
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = to

    return change


def _twice(*path: str | int) -> Callable[[Content], None]:
    def change(whole: Content) -> None:
        place: Any = whole
        for part in path:
            place = place[part]
        place.append(place[0])

    return change


FAMILY = ("families", 0)
ARM = (*FAMILY, "arms", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(*ARM, "bin", to=1), "has a row in bin 1, and there are 1 bins"),
        (_set(*ARM, "bin", to=-1), "greater than or equal to 0"),
        (
            _set(*ARM, "strategy", to="single"),
            "the baseline 'self_consistency:n=16' has no row in bin 0",
        ),
        (_set(*ARM, "verifier", to="prm"), "has no row in bin 0"),
        (_set(*ARM, "budget", to="tokens=9"), "has no row in bin 0"),
        (_set(*FAMILY, "arms", to=[]), "has no row in bin 0"),
        (
            _set(*FAMILY, "bins", to={"signal": "split", "edges": [0.5]}),
            "has no row in bin 1",
        ),
        (
            _set(*FAMILY, "bins", to={"signal": "split", "edges": [0.5, 0.5]}),
            "must ascend",
        ),
        (_set(*FAMILY, "bins", to={"signal": "none", "edges": [0.5]}), "need a signal"),
        (_set(*FAMILY, "bins", to={"signal": "stars"}), "it must be"),
        (_twice(*FAMILY, "arms"), "has 2 rows in bin 0"),
        (_twice("families"), "2 families are of the task 'math'"),
        (_set(*ARM, "trust", "shares", to=[0.5, 0.5, 0.9]), "shares must ascend"),
        (
            _set(*ARM, "trust", "shares", to=[0.5, 0.9]),
            "each share must have its answers",
        ),
        (_set(*ARM, "trust", "shares", to=[]), "at least 1 item"),
        (
            _set(*ARM, "trust", "right", to=[10, 18, 51]),
            "no more answers can be right than there are",
        ),
        (_set(*ARM, "trust", "slope", to=0), "greater than 0"),
        (
            _set(*FAMILY, "safe", to="single"),
            "the safe arm 'single' has no row in bin 0",
        ),
        (_set(*FAMILY, "sample_tokens", to=0), "greater than 0"),
        (_set(*ARM, "questions", to=0), "greater than or equal to 1"),
        (
            _set(*ARM, "losses", to=[[0.0, 99]]),
            "has losses of other than its 100 questions",
        ),
        (_set(*ARM, "losses", to=[[1.5, 100]]), "less than or equal to 1"),
        (_set(*ARM, "tokens", to=float("inf")), "finite number"),
        (_set(*ARM, "tokens", to=float("nan")), "finite number"),
        (_set(*ARM, "stars", to=5), "extra inputs"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    tmp_path: Path, change: Callable[[Content], None], message: str
) -> None:
    whole = content()
    change(whole)
    file = tmp_path / "profile.json"
    # JSON as Python writes it has names for what is not finite.
    file.write_text(json.dumps(whole))
    with pytest.raises(UsageError, match=message):
        read_profile(file)


# What it answers


def test_a_task_that_was_not_calibrated_names_those_that_were() -> None:
    both = profile(family(task="gsm8k"), family(task="aime"))
    assert both.family("aime").task == "aime"
    with pytest.raises(UnknownName, match=r"did you mean 'gsm8k'.*aime, gsm8k"):
        both.family("gsm8")


@given(
    st.lists(st.floats(-5, 5), max_size=4, unique=True).map(sorted), st.floats(-6, 6)
)
def test_a_question_is_in_the_bin_whose_edges_enclose_it(
    edges: list[float], value: float
) -> None:
    bins = Bins(signal="prompt", edges=tuple(edges))
    place = bins.index(value)
    assert 0 <= place < bins.count
    assert all(edge <= value for edge in edges[:place])
    assert all(value < edge for edge in edges[place:])


@given(st.floats(0, 1), st.floats(0, 1))
def test_trust_ranks_as_shares_do(one: float, other: float) -> None:
    low, high = (CURVE.chance(share) for share in sorted((one, other)))
    assert 0 < low <= high < 1
    assert CURVE.chance(0.75) == pytest.approx(1 / (1 + math.exp(1 - 2 * math.log(3))))


def test_of_equal_shares_those_of_shorter_samples_are_surer() -> None:
    known = CURVE.model_copy(update={"length": 100.0})
    assert (
        known.chance(0.75, 50)
        > known.chance(0.75, 100)
        == known.chance(0.75)
        > known.chance(0.75, 200)
    )
    assert known.chance(0.8, 120) > known.chance(0.75, 80)
    assert CURVE.chance(0.75, 50) == CURVE.chance(0.75)


@pytest.mark.parametrize(
    ("threshold", "covered", "right"),
    [(0, 1, 0.7), (0.27, 0.75, 0.8), (0.67, 0.5, 0.84), (0.96, 0.5, 0.84), (1, 0, 1)],
)
def test_what_is_answered_above_a_threshold(
    threshold: float, covered: float, right: float
) -> None:
    assert CURVE.answers_above(threshold) == pytest.approx((covered, right))
