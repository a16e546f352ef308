"""Figures: their scales, their looks, what they leave out, and that the same is drawn the same."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_evals.report.charts.drawing import Drawing, drawing, folded, log_ticks, short
from reasoner_evals.report.charts.figures import Absent, Figure, figures, largest_points
from reasoner_evals.report.charts.lines import AXES, TOKENS, accuracy_chart, banded_series, lines, scaled_marks
from reasoner_evals.report.charts.theme import COLOURS, PAPER, SERIES, series_styles, style_at
from reasoner_evals.report.content import AnytimeCurve, Estimate, TaskReport
from reasoner_evals.report.data.measures import ALLOCATED
from tests.evals.report.contents import BARE, BEST, GREEDY, SIZES, VOTE, a_point, a_task, some_points

TASK = a_task()
STYLES = series_styles([TASK])


@pytest.fixture(scope="module")
def chart() -> Drawing:
    return drawing("one", accuracy_chart(TASK, TOKENS, STYLES))


def test_the_same_is_drawn_the_same_and_every_name_has_ids_of_its_own(chart: Drawing) -> None:
    assert drawing("one", accuracy_chart(TASK, TOKENS, STYLES)) == chart
    other = drawing("two", accuracy_chart(TASK, TOKENS, STYLES))
    ids = [set(re.findall(r'id="([^"]*)"', svg)) for svg in (chart.wide, chart.narrow, other.wide, other.narrow)]
    assert sum(map(len, ids)) == len(set().union(*ids)) > 0


def test_the_page_takes_every_colour_from_its_style_sheet(chart: Drawing) -> None:
    used = set(re.findall(r"var\(--([a-z0-9]+)\)", chart.wide))
    assert {"ink", "quiet", "rule", "paper", "s1", "s2", "s3"} <= used <= {colour.name for colour in COLOURS}
    assert not re.search(r"#[0-9a-f]{6}", chart.wide + chart.narrow)
    assert "font-family" not in chart.wide


def test_text_is_twelve_pixels_high_at_either_width(chart: Drawing) -> None:
    for svg, width in ((chart.wide, 860), (chart.narrow, 330)):
        assert set(re.findall(r"font-size: ([0-9.]+)px", svg)) == {"12"}
        assert ET.fromstring(svg).attrib["viewBox"].startswith(f"0 0 {width} ")


def test_everything_that_is_drawn_lies_inside_the_figure(chart: Drawing) -> None:
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
    extreme = [a_point(GREEDY, accuracy=0.0), a_point(VOTE, size=1, accuracy=1.0), a_point(VOTE, size=8, accuracy=0.5)]
    task = a_task(rows=extreme, deltas=(), chance=None)
    root = ET.fromstring(drawing("edge", accuracy_chart(task, TOKENS, series_styles([task]))).wide)
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
    task = a_task(rows=[point | {"series": hostile, "name": hostile} for point in some_points()[1:5]], deltas=())
    shown = drawing("bad", accuracy_chart(task, TOKENS, series_styles([task])))
    for svg in (shown.wide, shown.svg.decode()):
        root = ET.fromstring(svg)
        assert not [one for one in root.iter() if one.tag.endswith("script")]
        texts = "".join(one.text or "" for one in root.iter() if one.tag.endswith("text"))
        whole = '</text></svg><script>alert("$x^2$")</script> url(#a) [U+0000][U+202E]'
        assert whole.replace(" ", "") in texts.replace(" ", "")  # folded at its blanks
        assert "\u202e" not in texts


def test_32_series_look_different_in_more_than_their_colour() -> None:
    every = [style_at(place) for place in range(32)]
    assert len({(style.colour, style.marker, style.dashes) for style in every}) == 32
    assert len({(style.marker, style.dashes) for style in every}) == 32
    assert style_at(32) == style_at(0)


def test_a_series_looks_the_same_wherever_the_report_shows_it() -> None:
    assert list(STYLES) == [GREEDY, VOTE, BEST]
    assert series_styles([TASK, replace(TASK, points=TASK.points[::-1])]) == STYLES


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_the_paper_by_day_and_by_night() -> None:
    for colour in COLOURS:
        minimum = {"ink": 7.0, "quiet": 4.5}.get(colour.name, 4.5 if colour in SERIES else 0.0)
        assert _contrast(colour.light, PAPER.light) >= minimum, colour
        assert _contrast(colour.dark, PAPER.dark) >= minimum, colour


@given(st.floats(1e-6, 1e17), st.floats(1.0, 1e6), st.integers(2, 12))
def test_ticks_are_round_places_within_the_range_and_few(low: float, span: float, maximum: int) -> None:
    high = low * span
    for base in (2, 10):
        ticks = log_ticks(low, high, base, maximum)
        assert 1 <= len(ticks) <= maximum
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
    assert scaling.selection.band is not None
    reach = max(scaling.selection.band.ks)
    found = figures(a_task(difficulty=(), calibration=(), verifiers=(), rows=some_points()[:1]), "f", STYLES)
    [shown] = found["scaling"]
    assert isinstance(shown, Figure)
    texts = [one.text for one in ET.fromstring(shown.drawing.wide).iter("text")]
    assert "16" in texts
    assert reach == 2 * max(SIZES)
    assert "32" not in texts


def test_points_without_a_place_on_an_axis_are_named_in_its_caption() -> None:
    shown = figures(a_task(**BARE), "f", STYLES)["accuracy"]
    captions = {axis.tab: tab.caption for axis, tab in zip(AXES, shown, strict=True) if isinstance(tab, Figure)}
    assert "Not shown, because they have no value on this axis: single." in captions["Samples"]
    assert "Not shown" not in captions["Tokens"]


def test_without_prices_the_tab_of_money_says_how_to_give_them() -> None:
    bare = a_task(rows=[a_point(VOTE, size=k, usd=None) for k in SIZES], **BARE)
    money = figures(bare, "f", series_styles([bare]))["accuracy"][-1]
    assert isinstance(money, Absent)
    assert "--prices" in money.why


def test_an_anytime_curve_stands_on_tokens_alone() -> None:
    task = a_task(anytime=(anytime(GREEDY),))
    drawn_on = [axis.key for axis in AXES if "anytime" in {line.kind for line in lines(task, axis)}]
    assert drawn_on == ["tokens"]


def test_of_each_series_the_largest_point_is_shown_where_one_is() -> None:
    assert [row.label for row in largest_points(TASK.points.itertuples()).values()] == [
        GREEDY,
        f"{VOTE}, n=8",
        f"{BEST}, n=8",
    ]


def anytime(series: str) -> AnytimeCurve:
    tokens = (9.0, 900.0, 5000.0)
    accuracies = tuple(Estimate(amount / 9000) for amount in tokens)
    return AnytimeCurve(series, "small", f"{series}, anytime", tokens, accuracies)


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(svg).iter("text")]


def test_answers_held_before_anything_was_bought_do_not_flatten_the_curves() -> None:
    shown = lines(a_task(anytime=(anytime(GREEDY),)), TOKENS)
    assert scaled_marks(shown) == [mark for line in shown if line.kind != "anytime" for mark in line.marks]
    shown = lines(a_task(rows=[a_point(GREEDY)], anytime=(anytime(GREEDY),)), TOKENS)
    assert {mark.x for mark in scaled_marks(shown)} == {9.0, 900.0, 5000.0, 90.0}


def crowd(count: int) -> TaskReport:
    """Pools, one budget divided at several totals, and stop rules run once, with what they held on the way."""
    pool = [a_point(VOTE, size=k, accuracy=0.4 + k / 40) for k in SIZES]
    totals = [a_point(f"{VOTE}{ALLOCATED}", accuracy=0.5) | {"key": f"total {n}"} for n in SIZES]
    rules = [a_point(f"{VOTE}:stop=lock_in:delta=0.0{place}{place + 1}", accuracy=0.6) for place in range(count)]
    held: tuple[AnytimeCurve, ...] = tuple(anytime(row["series"]) for row in rules)
    return a_task(rows=[*pool, *totals, *rules], anytime=held)


def test_many_lines_are_drawn_without_what_would_hide_them() -> None:
    few, many = (crowd(count) for count in (2, 12))
    assert banded_series(few, lines(few, TOKENS))
    assert not banded_series(many, lines(many, TOKENS))
    kinds = [{line.kind for line in lines(task, TOKENS)} for task in (few, many)]
    assert kinds == [{"measured", "oracle", "random", "anytime"}, {"measured", "oracle", "random"}]
    shown = figures(replace(many, **BARE), "f", series_styles([many]))["accuracy"][0]
    assert isinstance(shown, Figure)
    assert "No band is drawn" in shown.caption


def test_names_that_differ_at_their_end_are_told_apart_at_either_width() -> None:
    task = crowd(9)
    found = drawing("crowd", accuracy_chart(task, TOKENS, series_styles([task])))
    for svg in (found.wide, found.narrow):
        whole = "".join(texts(svg))
        for place in range(9):
            assert f"delta=0.0{place}{place + 1}" in whole
        assert whole.count(f"{VOTE}{ALLOCATED}") == 1


def test_no_name_of_a_line_lies_on_another_or_outside_the_figure() -> None:
    task = crowd(20)
    drawn = drawing("crowd", accuracy_chart(task, TOKENS, series_styles([task])))
    for svg in (drawn.wide, drawn.narrow):
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


def test_bands_are_drawn_only_where_they_can_be_distinguished() -> None:
    same = a_task(rows=[a_point(name, size=k, accuracy=0.4 + k / 40) for name in (VOTE, BEST) for k in SIZES])
    assert len(banded_series(same, lines(same, TOKENS))) == 1
    apart = a_task(rows=[a_point(name, size=k, accuracy=low + k / 40) for name, low in ((VOTE, 0.2), (BEST, 0.6))
                         for k in SIZES])  # fmt: skip
    assert len(banded_series(apart, lines(apart, TOKENS))) == 2


@given(st.text(st.sampled_from("ab_:=., x"), max_size=200), st.integers(8, 60))
def test_a_folded_name_is_two_lines_at_most_and_loses_nothing_that_fits(text: str, limit: int) -> None:
    lines = folded(text, limit).split("\n")
    assert len(lines) <= 2
    assert all(len(line) <= limit for line in lines)
    whole = " ".join(text.split())
    if len(whole) <= 1.5 * limit:
        assert "".join(lines).replace(" ", "") == whole.replace(" ", "")


def test_longer_thinking_is_a_line_through_the_single_samples_of_each_level() -> None:
    rows = [
        {**a_point(f"vote, {level}", size=size, accuracy=accuracy), "tokens": level * size,
         "strategy": f"self_consistency:n={size},thinking={level}"}
        for level, accuracy in ((100, 0.4), (400, 0.6), (1600, 0.7))
        for size in (1, 2, 4)
    ]  # fmt: skip
    task = a_task(rows=rows, deltas=(), chance=None)
    drawn = lines(task, TOKENS)
    [longer] = [line for line in drawn if line.kind == "longer"]
    assert [(mark.x, mark.accuracy.value) for mark in longer.marks] == [(100, 0.4), (400, 0.6), (1600, 0.7)]
    assert sum(line.kind == "measured" for line in drawn) == 3
    assert "longer thinking" in drawing("t", accuracy_chart(task, TOKENS, series_styles([task]))).wide
    assert not [line for line in lines(TASK, TOKENS) if line.kind == "longer"]
