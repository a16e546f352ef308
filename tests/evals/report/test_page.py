"""The page of a report: its structure, its safety, and what it says where there is nothing to show."""

import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from reasoner.trace import page as tree_page
from reasoner.trace.page import policy
from reasoner_evals.report.build import make_report
from reasoner_evals.report.content import EvalReport
from reasoner_evals.report.figures import report_figures
from reasoner_evals.report.page import page
from reasoner_evals.runs.records import RunFolder
from tests.evals.fabricated import GREEDY, SMALL, VOTE, fabricate
from tests.evals.report.conftest import Made
from tests.evals.report.contents import table
from tests.evals.report.pages import parsed

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


def html(report: EvalReport) -> str:
    return page(report, report_figures(report.tasks))


def assert_harmless(page: str) -> None:
    found = parsed(page)
    assert (
        found.of(
            "script",
            "img",
            "iframe",
            "object",
            "embed",
            "link",
            "base",
            "form",
            "foreignobject",
        )
        == []
    )
    for one in found.elements:
        assert not [name for name in one.attributes if name.startswith("on")], one
        for name in ("href", "src", "xlink:href", "action"):
            assert one.attributes.get(name, "#").startswith("#"), one
        assert not re.search(r"//|url\((?!#)", one.attributes.get("style", "")), one
    [style] = found.of("style")
    assert not re.search(r"@import|url\(|//", style.text)
    assert all(char.isprintable() or char == "\n" for char in page)


def test_a_failure_shows_question_answer_and_reference_without_a_click(
    made: Made,
) -> None:
    first = made.task.failures[0]
    asked = made.page.of("blockquote")[0]
    answers = next(
        one for one in made.page.of("p") if one.attributes.get("class") == "answers"
    )
    assert "details" not in asked.inside + answers.inside
    assert first.item is not None
    assert asked.text == first.item.text
    assert f"Answered: {first.record.answer}" in answers.text
    assert f"Right: {first.item.gold}" in answers.text
    for failure in made.task.failures:
        assert f"{failure.record.ended_by}: {failure.record.reason}" in made.page.text
        if failure.record.confidence is not None:
            assert (
                f"calibrated confidence {100 * failure.record.confidence:.1f} %"
                in made.page.text
            )


def test_every_id_is_there_once_and_every_reference_leads_to_one(made: Made) -> None:
    ids = [one.attributes["id"] for one in made.page.elements if "id" in one.attributes]
    assert len(set(ids)) == len(ids)
    for one in made.page.elements:
        targets = [
            target
            for value in one.attributes.values()
            for target in re.findall(r"(?:^|url\()#([^)]*)", value)
        ]
        assert {*targets, *filter(None, [one.attributes.get("for")])} <= set(ids)


def test_nothing_that_a_run_holds_comes_through_unescaped(made: Made) -> None:
    assert_harmless(made.html)
    shown = html(poisoned(made.report, HOSTILE))
    assert_harmless(shown)
    assert len(shown) < 24_000_000
    assert "<script>alert(1)</script>" in parsed(shown).text


FIXED = {
    "greedy",
    "cheapest",
    "self_consistency",
    "missed",
    "backfired",
    "overconfident",
    "wrong",
    "rule",
    "price",
    "budget",
    "strategy",
    "front",
    "level",
    "behind",
    "gain",
    "leaning",
    "unresolved",
    "loss",
    "answered",
    "error",
    "no_answer",
    "truncated",
    "asked",
    "finished",
    "errors",
    "ungraded",
}


def poisoned(value: Any, texts: tuple[str, ...]) -> Any:
    """The same content with a hostile text at the end of every string; equal strings stay equal, so that keys hold."""
    if isinstance(value, str):
        return (
            value
            if value in FIXED
            else value + texts[sum(map(ord, value)) % len(texts)]
        )
    if isinstance(value, pd.DataFrame):
        rows = [
            {name: poisoned(cell, texts) for name, cell in row.items()}
            for row in value.to_dict("records")
        ]
        # A strategy is parsed.
        return table(
            row | {"strategy": old}
            for row, old in zip(rows, value["strategy"], strict=True)
        )
    if isinstance(value, tuple):
        parts = [poisoned(one, texts) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if is_dataclass(value) and not isinstance(value, type | RunFolder):
        # A schema must be JSON.
        names = [one.name for one in fields(value) if one.name != "json_schema"]
        return replace(
            value, **{name: poisoned(getattr(value, name), texts) for name in names}
        )
    if hasattr(value, "model_copy"):
        given = {
            name: poisoned(getattr(value, name), texts)
            for name in type(value).model_fields
            if name != "v"
        }
        return value.model_copy(update=given)
    if isinstance(value, dict):
        return {
            poisoned(name, texts): poisoned(one, texts) for name, one in value.items()
        }
    return value


def test_runs_of_several_models_are_one_report_at_matched_flops(
    tmp_path: Path,
) -> None:
    large = replace(SMALL, name="large-1b", parameters=9 * SMALL.parameters)
    paths = [
        fabricate(tmp_path / "small", [GREEDY, VOTE], questions=12),
        fabricate(tmp_path / "large", [GREEDY], questions=12, model=large),
    ]
    report = make_report(paths)
    [task] = report.tasks
    assert list(task.points.model) == [SMALL.name] * 5 + ["large-1b"]
    assert None not in set(task.points.flops_front)
    assert task.points.series.nunique() == 3


def test_a_page_allows_its_own_style_and_nothing_else(made: Made) -> None:
    allowed = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert (
        policy() == f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
    )
    for text in (made.html, "\n".join(tree_page.page([], source="trace"))):
        head = text[: text.index("<style>")]
        assert policy() in head
        # What comes before the policy is not under it.
        assert not re.search(r"<(script|link|img|style|base|iframe|object)", head)
