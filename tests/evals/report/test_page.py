"""The page of a report: its structure, its safety, and what it says where there is nothing to show."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reasoner.trace.tree.page import policy, write_page
from reasoner_evals.report.content import Report, TaskReport
from reasoner_evals.report.html.page import SECTIONS, View, page, views
from tests.evals.report.contents import (
    BARE,
    a_failure,
    a_point,
    a_report,
    a_source,
    a_task,
    an_empty_task,
    some_points,
    table,
    two_models,
)
from tests.evals.report.pages import Parsed, parsed
from tests.sweeps import widths

HOSTILE = (
    "<script>alert(1)</script>",
    "]]></svg><script>alert(2)</script>",
    '"><img src=https://evil.example/x onerror=alert(3)>',
    "'><b onmouseover='alert(4)'>",
    "&#x3c;script&#x3e;alert(5)&#60;/script>",
    "--><script>alert(6)</script><!--",
    "</style></title><script>alert(7)</script>",
    "{{ 7 * 191 }}{% include 'x' %}",
    "\u202eevil\u2066 \x00\x1b[31m\ud800 \u200b",
    "$\\frac{1}{2}$ 100% _a_ ^b^",
    "x" * 50_000,
    "javascript:alert(8)",
    "url(https://evil.example/y) @import 'https://evil.example/z';",
)


def made(report: Report) -> str:
    return page(report, views(report))


@pytest.fixture(scope="module")
def shown() -> tuple[View, ...]:
    return views(a_report())


@pytest.fixture(scope="module")
def whole(shown: tuple[View, ...]) -> str:
    return page(a_report(), shown)


@pytest.fixture(scope="module")
def elements(whole: str) -> Parsed:
    return parsed(whole)


def assert_harmless(page: str) -> None:
    found = parsed(page)
    assert found.of("script", "img", "iframe", "object", "embed", "link", "base", "form", "foreignobject") == []
    for one in found.elements:
        assert not [name for name in one.attributes if name.startswith("on")], one
        for name in ("href", "src", "xlink:href", "action"):
            assert one.attributes.get(name, "#").startswith("#"), one
        assert "//" not in one.attributes.get("style", ""), one
        assert not re.search(r"url\((?!#)", one.attributes.get("style", "")), one
    [style] = found.of("style")
    assert not re.search(r"@import|url\(|//", style.text)
    assert all(char.isprintable() or char == "\n" for char in page)


@widths("make", lambda: a_report(only_one_arm()), a_report)
def test_the_same_report_makes_the_same_page_byte_for_byte(make: Callable[[], Report]) -> None:
    assert made(make()) == made(make())


def test_the_sections_stand_in_the_order_in_which_a_reader_needs_them(elements: Parsed) -> None:
    titles = [title for anchor, title in SECTIONS if anchor != "models"]
    last = ["What do the numbers not show?", "How was this measured?"]
    assert [one.text for one in elements.of("h2")] == [*titles, *last]
    assert all(title.endswith("?") for title in (*titles, *last))
    assert [one.text for one in elements.of("h1")] == ["arithmetic: accuracy against compute"]


@pytest.mark.parametrize("several", [False, True], ids=["one task", "two tasks"])
def test_headings_leave_out_no_level_and_the_page_has_its_landmarks(several: bool) -> None:
    tasks = (only_one_arm(), replace(a_task(), task="other")) if several else (a_task(),)
    found = parsed(made(a_report(*tasks)))
    levels = [int(one.tag[1]) for one in found.of("h1", "h2", "h3", "h4", "h5") if "details" not in one.inside]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= former + 1 for former, later in pairwise(levels))
    assert len(found.of("main")) == len(found.of("footer")) == 1
    [skip] = [one for one in found.of("a") if one.attributes.get("class") == "skip"]
    assert skip.attributes["href"] == "#main"
    assert all(one.attributes["aria-label"] for one in found.of("nav"))


def test_the_result_stands_before_everything_that_explains_it(whole: str) -> None:
    parts = ['class="verdict"', 'class="numbers"', "t1-accuracy-tokens-figure", "<nav", "<table"]
    assert sorted(parts, key=whole.index) == parts


def test_a_failure_shows_question_answer_and_reference_without_a_click(elements: Parsed) -> None:
    [asked] = elements.of("blockquote")
    [answers] = [one for one in elements.of("p") if one.attributes.get("class") == "answers"]
    assert "details" not in asked.inside + answers.inside
    assert asked.text == "What is 7 + 8?"
    assert "Answered: 16" in answers.text
    assert "Right: 15" in answers.text


def test_every_id_is_there_once_and_every_reference_leads_to_one(elements: Parsed) -> None:
    ids = [one.attributes["id"] for one in elements.elements if "id" in one.attributes]
    assert len(set(ids)) == len(ids)
    for one in elements.elements:
        for value in one.attributes.values():
            for target in re.findall(r"(?:^|url\()#([^)]*)", value):
                assert target in ids
        if "for" in one.attributes:
            assert one.attributes["for"] in ids


def test_every_figure_is_described_in_words_and_its_caption_states_the_number_of_questions_and_seeds(
    elements: Parsed,
) -> None:
    figures = elements.of("figure")
    assert len(figures) == 13
    images = [one for one in elements.elements if one.attributes.get("role") == "img"]
    assert len(images) == 2 * len(figures)
    assert all(len(one.attributes["aria-label"]) > 20 for one in images)
    captions = [one.text for one in elements.of("figcaption")]
    assert len(captions) == len(figures)
    for caption in captions:
        assert re.search(r"n = 120 questions, 1 seed\.", caption), caption
        assert re.search(r"95 % (interval|band)|No band is drawn|Each strategy at its largest size", caption), caption


def test_every_number_of_a_table_has_headers(elements: Parsed) -> None:
    assert len(elements.of("table")) == len(elements.of("caption")) == 9
    for one in elements.of("th"):
        assert one.attributes.get("scope") in {"col", "row", "rowgroup"}, one


def test_the_axes_are_switched_without_a_script(elements: Parsed) -> None:
    radios = [one for one in elements.of("input") if one.attributes["type"] == "radio"]
    assert ["checked" in one.attributes for one in radios] == [True, False, False, False, False]
    labels = [one.text for one in elements.of("label")]
    assert labels == ["Tokens", "Samples", "FLOPs", "Seconds", "Money"]


def test_a_whole_report_is_harmless(whole: str) -> None:
    assert_harmless(whole)


def test_nothing_that_a_run_holds_comes_through_unescaped() -> None:
    report = poisoned(a_report(a_task(failures=(a_failure(), a_failure(shareable=False)))), HOSTILE)
    shown = made(report)
    assert_harmless(shown)
    assert len(shown) < 24_000_000
    assert "<script>alert(1)</script>" in parsed(shown).text


def poisoned(value: Any, texts: tuple[str, ...]) -> Any:
    """The same content with a hostile text at the end of every string; equal strings stay equal, so that keys hold."""
    if isinstance(value, str):
        fixed = {
            "greedy",
            "self_consistency",
            "larger_model",
            "missed",
            "wrong",
            "rule",
            "price",
            "budget",
            "strategy",
            "front",
            "level",
            "behind",
            "gain",
        }
        return value if value in fixed else value + texts[sum(map(ord, value)) % len(texts)]
    if isinstance(value, pd.DataFrame):
        rows = [{name: poisoned(cell, texts) for name, cell in row.items()} for row in value.to_dict("records")]
        return table(rows)
    if isinstance(value, tuple):
        parts = [poisoned(one, texts) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if is_dataclass(value) and not isinstance(value, type):
        # A schema must be JSON.
        names = [one.name for one in fields(value) if one.name != "json_schema"]
        return replace(value, **{name: poisoned(getattr(value, name), texts) for name in names})
    if hasattr(value, "model_copy"):
        given = {name: poisoned(getattr(value, name), texts) for name in type(value).model_fields if name != "v"}
        return value.model_copy(update=given)
    if isinstance(value, dict):
        return {poisoned(name, texts): poisoned(one, texts) for name, one in value.items()}
    return value


def test_rows_under_a_series_say_only_what_tells_them_apart() -> None:
    of = [("voting:n=8", "tokens=9 in all"), ("voting:n=16", "tokens=9 in all"), ("voting:n=16", "tokens=90 in all")]
    points = [
        a_point("voting, allocated")
        | {"key": f"{place}", "strategy": strategy, "budget": budget, "label": f"{strategy}, {budget}"}
        for place, (strategy, budget) in enumerate(of)
    ]
    shown = parsed(made(a_report(a_task(rows=points, **BARE))))
    parts = [one.text for one in shown.of("th") if one.attributes.get("class") == "part"]
    assert parts[:3] == ["n=8, tokens=9 in all", "n=16, tokens=9 in all", "n=16, tokens=90 in all"]


def test_a_source_that_may_not_be_shown_is_not_even_if_the_answer_is_there() -> None:
    secret = a_failure(shareable=False, answer="SECRET ANSWER")
    shown = made(a_report(replace(only_one_arm(), source=a_source(shareable=False), failures=(secret,))))
    assert "SECRET" not in shown
    assert "does not allow" in shown


def test_parts_that_are_missing_are_sentences() -> None:
    bare = a_task(rows=some_points(), **BARE)
    shown = parsed(made(a_report(bare)))
    for sentence in (
        "No verifier rated replies.",
        "there is nothing to compare with",
        "no greedy sample to compare with",
        "No difficulty: ",
        "No calibration: ",
        "No scaling law: ",
        "No failure worth reading was found.",
    ):
        assert sentence in shown.text
    assert "#t1-missing" in {one.attributes.get("href") for one in shown.of("a")}
    drawn = {one.attributes["id"].removeprefix("t1-").removesuffix("-figure") for one in shown.of("figure")}
    assert drawn == {*(f"accuracy-{axis}" for axis in ("tokens", "samples", "flops", "seconds", "usd")), "gap", "cost"}


def only_one_question() -> TaskReport:
    known = {"questions": 1, "accuracy_low": None, "accuracy_high": None}
    return a_task(questions=1, rows=[point | known for point in some_points()], difficulty=(), calibration=())


def only_one_arm() -> TaskReport:
    return a_task(rows=[a_point("single")], findings=("One.",), **BARE)


@pytest.mark.parametrize("task", [an_empty_task(), only_one_question(), only_one_arm()], ids=["none", "one", "arm"])
def test_little_makes_a_page_all_the_same(task: TaskReport) -> None:
    shown = made(a_report(task))
    assert_harmless(shown)
    assert bool(parsed(shown).of("figure")) == bool(len(task.points))


def test_a_run_of_which_nothing_is_finished_says_so() -> None:
    assert "No question has been finished and graded yet." in made(a_report(an_empty_task()))


def test_several_models_get_a_panel_at_matched_flops() -> None:
    found = parsed(made(a_report(two_models())))
    assert "Can a smaller model do it with more compute?" in [one.text for one in found.of("h2")]
    assert "t1-models-figure" in [one.attributes["id"] for one in found.of("figure")]


def test_several_tasks_stand_apart() -> None:
    found = parsed(made(a_report(only_one_arm(), replace(only_one_arm(), task="other"))))
    assert [one.attributes["id"] for one in found.of("article")] == ["t1", "t2"]


def test_every_figure_alone_is_well_formed_and_needs_nothing_else(shown: tuple[View, ...]) -> None:
    for figure in shown[0].drawn:
        root = ET.fromstring(figure.drawing.svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert b"<script" not in figure.drawing.svg
        assert figure.drawing.png.startswith(b"\x89PNG")


def test_a_page_allows_its_own_style_and_nothing_else(whole: str, tmp_path: Path) -> None:
    assert not list(write_page(tmp_path / "tree.html", [], source="trace"))
    allowed = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert policy() == f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
    for text in (whole, (tmp_path / "tree.html").read_text()):
        head = text[: text.index("<style>")]
        assert policy() in head
        # What comes before the policy is not under it.
        assert not re.search(r"<(script|link|img|style|base|iframe|object)", head)
