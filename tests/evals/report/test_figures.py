"""Figures: their scales, their looks, what they leave out, and that the same is drawn the same."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_evals.report.axes import AXES, TOKENS, log_ticks, short
from reasoner_evals.report.charts import accuracy_chart, banded, lines_of, spanned
from reasoner_evals.report.drawing import LONGEST_LABEL, Drawn, drawn, folded
from reasoner_evals.report.figures import Absent, Figure, dearest, figures
from reasoner_evals.report.looks import COLOURS, PAPER, SERIES, look, looks
from reasoner_evals.report.points import ALLOCATED, Curve, CurvePoint, Estimate
from tests.evals.report.contents import BEST, GREEDY, SIZES, VOTE, a_point, a_report, a_task, curves_of, some_points

TASK = a_task()
LOOKS = looks(a_report())


@pytest.fixture(scope="module")
def chart() -> Drawn:
    return drawn("one", accuracy_chart(TASK, TOKENS, LOOKS))


def test_the_same_is_drawn_the_same_and_every_name_has_ids_of_its_own(chart: Drawn) -> None:
    assert drawn("one", accuracy_chart(TASK, TOKENS, LOOKS)) == chart
    other = drawn("two", accuracy_chart(TASK, TOKENS, LOOKS))
    ids = [set(re.findall(r'id="([^"]*)"', svg)) for svg in (chart.wide, chart.narrow, other.wide, other.narrow)]
    assert sum(map(len, ids)) == len(set().union(*ids)) > 0


def test_the_page_takes_every_colour_from_its_style_sheet(chart: Drawn) -> None:
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", chart.wide))
    assert {"ink", "quiet", "rule", "paper", "s1", "s2", "s3"} <= used <= {colour.name for colour in COLOURS}
    assert not re.search(r"#[0-9a-f]{6}", chart.wide + chart.narrow)
    assert "font-family" not in chart.wide


def test_text_is_twelve_pixels_high_at_either_width(chart: Drawn) -> None:
    for svg, width in ((chart.wide, 860), (chart.narrow, 330)):
        assert set(re.findall(r"font-size: ([0-9.]+)px", svg)) == {"12"}
        assert ET.fromstring(svg).attrib["viewBox"].startswith(f"0 0 {width} ")


def test_everything_that_is_drawn_lies_inside_the_figure(chart: Drawn) -> None:
    for svg in (chart.wide, chart.narrow):
        root = ET.fromstring(svg)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        places = [
            (float(one.attrib["x"]), float(one.attrib["y"]))
            for one in root.iter()
            if one.tag in {"use", "text"} and "x" in one.attrib
        ]
        assert len(places) > 20
        assert all(0 <= x <= width and 0 <= y <= height for x, y in places)


def test_every_measured_point_is_a_marker_that_no_edge_clips() -> None:
    extreme = (a_point(GREEDY, accuracy=0.0), a_point(VOTE, size=1, accuracy=1.0), a_point(VOTE, size=8, accuracy=0.5))
    task = a_task(points=extreme, curves=curves_of(extreme), front=(), deltas=(), chance=None)
    root = ET.fromstring(drawn("edge", accuracy_chart(task, TOKENS, looks(a_report(task)))).wide)
    clips = [one.find("rect") for one in root.iter("clipPath")]
    [box] = [one.attrib for one in clips if one is not None]
    top, bottom = float(box["y"]), float(box["y"]) + float(box["height"])
    heights = [
        float(one.attrib["y"])
        for group in root.iter("g")
        if "clip-path" in group.attrib
        for one in group.iter("use")
        if one.attrib["x"] != "0"  # a band, whose path has places of its own
    ]  # fmt: skip
    assert len(heights) >= 3
    assert all(top + 3 <= height <= bottom - 3 for height in heights)


def test_a_text_of_a_run_stays_a_text() -> None:
    hostile = '</text></svg><script>alert("$x^2$")</script> url(#a) \x00\u202e'
    points = tuple(replace(one, series=hostile, label=hostile) for one in some_points()[1:5])
    task = a_task(points=points, curves=curves_of(points), front=(), deltas=())
    shown = drawn("bad", accuracy_chart(task, TOKENS, looks(a_report(task))))
    for svg in (shown.wide, shown.svg.decode()):
        root = ET.fromstring(svg)
        assert not [one for one in root.iter() if one.tag.endswith("script")]
        texts = "".join(one.text or "" for one in root.iter() if one.tag.endswith("text"))
        assert folded(hostile, 60).replace("\n", "") in texts
        assert "\u202e" not in texts


def test_32_series_look_different_in_more_than_their_colour() -> None:
    every = [look(place) for place in range(32)]
    assert len({(one.colour, one.marker, one.dashes) for one in every}) == 32
    assert len({(one.marker, one.dashes) for one in every}) == 32
    assert look(32) == look(0)


def test_a_series_looks_the_same_wherever_the_report_shows_it() -> None:
    assert list(LOOKS) == [GREEDY, VOTE, BEST]
    assert looks(a_report(TASK, replace(TASK, points=TASK.points[::-1], curves=()))) == LOOKS


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_the_paper_by_day_and_by_night() -> None:
    for colour in COLOURS:
        least = {"ink": 7.0, "quiet": 4.5}.get(colour.name, 4.5 if colour in SERIES else 0.0)
        assert _contrast(colour.light, PAPER.light) >= least, colour
        assert _contrast(colour.dark, PAPER.dark) >= least, colour


@given(st.floats(1e-6, 1e17), st.floats(1.0, 1e6), st.integers(2, 12))
def test_ticks_are_round_places_within_the_range_and_few(low: float, span: float, most: int) -> None:
    high = low * span
    for base in (2, 10):
        ticks = log_ticks(low, high, base, most)
        assert 1 <= len(ticks) <= most
        assert ticks == sorted(set(ticks))
        assert all(low * (1 - 1e-6) <= one <= high * (1 + 1e-6) for one in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (1500, "1.5k"),
        (2e7, "20M"),
        (3.2e15, "3.2e15"),
        (4e-5, "4e-5"),
        (0.25, "0.25"),
        (999.7, "1k"),
    ],
)
def test_numbers_are_written_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_law_is_drawn_to_twice_the_measured_sizes_at_most() -> None:
    [scaling] = TASK.scaling
    assert scaling.selection is not None
    reach = max(at.size for at in scaling.selection.points)
    found = figures(
        a_task(difficulty=(), calibration=(), verifiers=(), curves=(), points=some_points()[:1]), "f", LOOKS
    )
    assert isinstance(found.scaling, Figure)
    texts = [one.text for one in ET.fromstring(found.scaling.drawn.wide).iter("text")]
    assert "16" in texts
    assert reach == 2 * max(SIZES)
    assert "32" not in texts


def test_points_without_a_place_on_an_axis_are_named_in_its_caption() -> None:
    tabs = figures(a_task(difficulty=(), calibration=(), verifiers=(), scaling=(), deltas=()), "f", LOOKS).accuracy
    captions = {tab.title: tab.figure.caption for tab in tabs if isinstance(tab.figure, Figure)}
    assert "Not shown, as samples is not known: single." in captions["Samples"]
    assert "Not shown" not in captions["Tokens"]


def test_without_prices_the_tab_of_money_says_how_to_give_them() -> None:
    points = tuple(a_point(VOTE, size=k, usd=None) for k in SIZES)
    bare = a_task(points=points, curves=curves_of(points), deltas=(), front=(), difficulty=(), calibration=(),
                  verifiers=(), scaling=())  # fmt: skip
    money = figures(bare, "f", looks(a_report(bare))).accuracy[-1]
    assert isinstance(money.figure, Absent)
    assert "--prices" in money.figure.why


def test_an_anytime_curve_stands_on_tokens_alone() -> None:
    steps = tuple(CurvePoint(None, tokens, None, None, None, Estimate(0.4)) for tokens in (50.0, 90.0))
    task = a_task(curves=(*TASK.curves, Curve(GREEDY, "small", "single, anytime", "anytime", steps)))
    drawn_on = [axis.key for axis in AXES if "anytime" in {curve.kind for curve, _ in lines_of(task, axis)}]
    assert drawn_on == ["tokens"]


def test_of_each_series_the_dearest_point_is_shown_where_one_is() -> None:
    assert [one.label for one in dearest(some_points())] == [GREEDY, f"{VOTE}, n=8", f"{BEST}, n=8"]


def anytime(series: str) -> Curve:
    steps = tuple(
        CurvePoint(None, tokens, None, None, None, Estimate(tokens / 9000)) for tokens in (9.0, 900.0, 5000.0)
    )
    return Curve(series, "small", f"{series}, anytime", "anytime", steps)


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(svg).iter("text")]


def test_answers_held_before_anything_was_bought_do_not_flatten_the_curves() -> None:
    lines = lines_of(a_task(curves=(*TASK.curves, anytime(GREEDY))), TOKENS)
    assert [one.x for one in spanned(lines)] == [
        one.x for curve, marks in lines if curve.kind != "anytime" for one in marks
    ]
    alone = (a_point(GREEDY),)
    lines = lines_of(a_task(points=alone, curves=(*curves_of(alone), anytime(GREEDY))), TOKENS)
    assert {one.x for one in spanned(lines)} == {9.0, 900.0, 5000.0, 90.0}


def crowd(count: int) -> tuple[Curve, ...]:
    """Pools, one budget divided at several totals, and stop rules run once, with what they held on the way."""
    pool = tuple(a_point(VOTE, size=k, accuracy=0.4 + k / 40) for k in SIZES)
    totals = tuple(replace(a_point(f"{VOTE}{ALLOCATED}", accuracy=0.5), key=f"total {n}") for n in SIZES)
    rules = tuple(a_point(f"{VOTE}:stop=lock_in:delta=0.0{place}{place + 1}", accuracy=0.6) for place in range(count))
    return (*curves_of((*pool, *totals, *rules)), *(anytime(one.series) for one in rules))


def test_many_lines_are_drawn_without_what_would_hide_them() -> None:
    few, many = (a_task(curves=crowd(count)) for count in (4, 12))
    assert banded(lines_of(few, TOKENS))
    assert not banded(lines_of(many, TOKENS))
    kinds = [{curve.kind for curve, _ in lines_of(task, TOKENS)} for task in (few, many)]
    assert kinds == [{"measured", "oracle", "random", "anytime"}, {"measured", "oracle", "random"}]
    shown = figures(replace(many, difficulty=(), calibration=(), verifiers=(), scaling=(), deltas=()), "f",
                    looks(a_report(many))).accuracy[0].figure  # fmt: skip
    assert isinstance(shown, Figure)
    assert "No band is drawn" in shown.caption


def test_names_that_differ_at_their_end_are_told_apart_at_either_width() -> None:
    task = a_task(curves=crowd(9))
    found = drawn("crowd", accuracy_chart(task, TOKENS, looks(a_report(task))))
    for svg in (found.wide, found.narrow):
        whole = "".join(texts(svg))
        for place in range(9):
            assert f"delta=0.0{place}{place + 1}" in whole
        assert f"{VOTE}, uniform" in whole
        assert whole.count(f"{VOTE}{ALLOCATED}") == 1


def test_no_line_of_a_long_legend_lies_on_another_or_outside_the_figure() -> None:
    task = a_task(curves=crowd(20))
    found = drawn("crowd", accuracy_chart(task, TOKENS, looks(a_report(task))))
    for svg in (found.wide, found.narrow):
        root = ET.fromstring(svg)
        columns: dict[float, list[float]] = {}
        for one in root.iter("text"):
            if re.search("stop=|delta=|allocated", one.text or ""):
                x, y = map(float, re.findall(r"[0-9.]+", one.attrib["transform"])[-2:])
                columns.setdefault(round(x), []).append(y)
        assert sum(map(len, columns.values())) >= 21
        for heights in map(sorted, columns.values()):
            assert all(later - former >= 12 for former, later in pairwise(heights))
            assert heights[-1] <= float(root.attrib["viewBox"].split()[-1])


@given(st.text(st.sampled_from("ab_:=., x"), max_size=200), st.integers(8, LONGEST_LABEL))
def test_a_folded_name_is_two_lines_at_most_and_loses_nothing_that_fits(text: str, limit: int) -> None:
    lines = folded(text, limit).split("\n")
    assert len(lines) <= 2
    assert all(len(line) <= limit for line in lines)
    whole = " ".join(text.split())
    if len(whole) <= 1.5 * limit:
        assert "".join(lines).replace(" ", "") == whole.replace(" ", "")
