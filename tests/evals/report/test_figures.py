"""Figures: their scales, their looks, what they leave out, and that the same is drawn the same."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from reasoner_evals.report.content import Headline, TaskReport
from reasoner_evals.report.drawing import COLOURS, Figure
from reasoner_evals.report.figures import (
    AXES,
    MAX_BANDS,
    oracles,
    placed_rows,
    report_figures,
)
from reasoner_evals.runs.measures import ALLOCATED
from tests.evals.report.conftest import Made
from tests.evals.report.contents import (
    BEST,
    GREEDY,
    SIZES,
    VOTE,
    a_curve,
    a_point,
    a_task,
)

TASK = a_task(
    [a_point(GREEDY, accuracy=0.45), *a_curve(VOTE), *a_curve(BEST, step=0.08)]
)


def drawn(task: TaskReport) -> dict[str, Figure]:
    """The figures of a task, by the ends of their names."""
    shown = [
        figure for figure in report_figures([task])["t1"] if isinstance(figure, Figure)
    ]
    return {figure.name.removeprefix("t1-"): figure for figure in shown}


def texts(svg: str | bytes) -> list[str]:
    return [
        one.text or "" for one in ET.fromstring(svg).iter() if one.tag.endswith("text")
    ]


@pytest.fixture(scope="module")
def few() -> dict[str, Figure]:
    return drawn(TASK)


def test_the_page_takes_every_colour_and_size_of_text_from_its_style_sheet(
    made: Made,
) -> None:
    shown = "".join(figure.inline for figure in made.figures)
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", shown))
    assert (
        {"ink", "quiet", "rule", "paper", "s1", "s2", "s3"}
        <= used
        <= {colour.name for colour in COLOURS}
    )
    assert not re.search(r"#[0-9a-f]{6}|font-", shown)


def test_everything_that_is_drawn_lies_inside_its_panel(made: Made) -> None:
    for figure in made.figures:
        root = ET.fromstring(figure.inline)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        uses = [
            one.attrib
            for one in root.iter()
            if one.tag in {"use", "text"} and "x" in one.attrib
        ]
        assert uses
        assert all(
            0 <= float(one["x"]) <= width and 0 <= float(one["y"]) <= height
            for one in uses
        ), figure.name


def test_a_file_is_alone_with_titles_and_legend_that_the_page_writes(
    made: Made,
) -> None:
    for figure in made.figures:
        written, inside = texts(figure.svg), texts(figure.inline)
        for title in filter(None, (figure.x, figure.y)):
            assert title in written, figure.name
            assert title not in inside
        assert {key.text for key in figure.keys} <= set(written)
        assert figure.png.startswith(b"\x89PNG")
        assert b"<script" not in figure.svg


def test_every_measured_point_is_a_marker_that_no_edge_clips() -> None:
    extreme = [
        a_point(GREEDY, accuracy=0.0),
        a_point(VOTE, size=1, accuracy=1.0),
        a_point(VOTE, size=8, accuracy=0.5),
    ]
    root = ET.fromstring(drawn(a_task(extreme))["accuracy-tokens"].inline)
    [box] = [
        rect.attrib
        for one in root.iter("clipPath")
        if (rect := one.find("rect")) is not None
    ]
    top, bottom = float(box["y"]), float(box["y"]) + float(box["height"])
    heights = [
        float(one.attrib["y"])
        for group in root.iter("g")
        if "clip-path" in group.attrib
        for one in group.iter("use")
        if one.attrib["x"] != "0"  # a band, whose path has places of its own
    ]
    assert len(heights) >= 3
    assert all(top + 3 <= height <= bottom - 3 for height in heights)


def test_a_text_of_a_run_stays_a_text() -> None:
    hostile = '</text></svg><script>alert("$x^2$")</script> url(#a) \x00\u202e'
    figure = drawn(a_task(a_curve(hostile, strategy=VOTE)))["accuracy-tokens"]
    assert not [
        one for one in ET.fromstring(figure.svg).iter() if one.tag.endswith("script")
    ]
    assert (
        '</text></svg><script>alert("$x^2$")</script> url(#a) [U+0000][U+202E]'
        in texts(figure.svg)
    )


def test_points_without_a_place_on_an_axis_are_named_in_its_caption(
    few: dict[str, Figure],
) -> None:
    named = "Not shown, because they have no value on this axis: single."
    assert [
        axis.key for axis in AXES if named in few[f"accuracy-{axis.key}"].caption
    ] == ["samples"]
    bare = a_task(a_curve(VOTE, usd=None))
    *_, money = report_figures([bare])["t1"]
    assert "--prices" in str(money)


def crowd(count: int) -> TaskReport:
    """A pool, one budget divided at several totals, and this many stop rules."""
    totals = [a_point(f"{VOTE}{ALLOCATED}", key=f"total {n}") for n in SIZES]
    rules = [
        a_point(f"{VOTE}:stop=lock_in:delta=0.0{row}{row + 1}", accuracy=0.6)
        for row in range(count)
    ]
    return a_task([*a_curve(VOTE), *totals, *rules])


def test_many_lines_are_drawn_without_what_would_hide_them_and_each_is_in_the_legend() -> (
    None
):
    some, many = (crowd(count) for count in (2, 12))
    assert (
        len(placed_rows(some, AXES[0])) <= MAX_BANDS < len(placed_rows(many, AXES[0]))
    )
    shown = [drawn(task)["accuracy-tokens"] for task in (some, many)]
    assert ["No band is drawn" in figure.caption for figure in shown] == [False, True]
    *measured, oracle = [key.text for key in shown[1].keys]
    assert sorted(measured) == sorted(set(many.points.series))
    assert oracle == "oracle: any sample right"


def test_an_oracle_is_drawn_for_the_series_of_the_verdict_else_the_highest(
    made: Made,
) -> None:
    [chosen] = oracles(made.task, placed_rows(made.task, AXES[0]))
    assert chosen == made.task.by_key[made.task.verdict.key].series
    rows = [*a_curve(VOTE), *a_curve(BEST, step=0.08), *a_curve("other", model="large")]
    task = a_task(rows)
    assert oracles(
        replace(task, verdict=Headline("nothing", "")), placed_rows(task, AXES[0])
    ) == [BEST, "other"]
