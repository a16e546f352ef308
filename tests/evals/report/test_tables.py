"""Tables for programs and people, and the commands that compare and export runs."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reasoner_evals.cli.results import compare, export
from reasoner_evals.report.build import make_report, points_csv
from reasoner_evals.report.page import to_markdown
from reasoner_evals.report.table import CSV_COLUMNS
from reasoner_evals.runs.export import export as export_run
from reasoner_evals.runs.export import plain_cell
from reasoner_evals.runs.reading import open_run
from tests.evals.fabricated import (
    BEST,
    GREEDY,
    VOTE,
    Fake,
    Law,
    fabricate,
    gold,
    record,
)
from tests.evals.report.conftest import Made
from tests.helpers import without_checksums


def run(command: object, *given: object) -> Result:
    # As in the group: a command keeps the names of its help from its first use.
    options: dict[str, Any] = {
        "standalone_mode": False,
        "help_option_names": ["-h", "--help"],
    }
    return CliRunner().invoke(command, [str(one) for one in given], **options)  # type: ignore[arg-type]


def test_the_csv_holds_every_number_of_every_point(made: Made) -> None:
    rows = list(csv.DictReader(points_csv(made.report).splitlines()))
    for row, point in zip(rows, made.task.rows, strict=True):
        known = {name: getattr(point, name) for name in CSV_COLUMNS}
        for against, delta in point.deltas.items():
            known |= {
                f"{against}_{name}": getattr(delta, name)
                for name in ("p", "p_holm", "better", "resolvable")
            }
            known |= dict(
                zip(
                    (f"{against}_delta", f"{against}_delta_low"),
                    delta.difference,
                    strict=False,
                )
            )
            words = delta.against_label(made.task.by_key[delta.baseline].label)
            known[f"{against}_baseline"] = words
        assert {name: row[name] for name in known} == {
            name: "" if value is None else str(value) for name, value in known.items()
        }
    assert {len(row) for row in rows} == {len(CSV_COLUMNS) + 3 * 12}


HOSTILE = {
    "=HYPERLINK(1)": "'=HYPERLINK(1)",
    "+1+cmd|' /C calc'!A0": "'+1+cmd|' /C calc'!A0",
    "-2+3": "'-2+3",
    "@SUM(A1)": "'@SUM(A1)",
    " \t=1": "'  =1",
    "\uff1d1": "'\uff1d1",
    "\r\n=1": "' =1",
    "-5": "-5",
    "+3.25": "+3.25",
    "-1e-9": "-1e-9",
    "-1,234": "-1,234",
    "red\x1b[31m\x9b31m\x00\x07": "red[U+001B][31m[U+009B]31m[U+0000][U+0007]",
    "\u202egnirts\u2066\u200e": "[U+202E]gnirts[U+2066][U+200E]",
    "two\nlines\u2028three\x85": "two lines[U+2028]three[U+0085]",
    'plain, "quoted" \u4e2d': 'plain, "quoted" \u4e2d',
}


def test_a_cell_is_neither_a_formula_nor_a_command_to_a_terminal() -> None:
    assert {text: plain_cell(text) for text in HOSTILE} == HOSTILE
    assert [plain_cell(value) for value in (-5, 0.5, None, True)] == [
        -5,
        0.5,
        None,
        True,
    ]


def test_what_models_wrote_is_exported_to_csv_as_plain_cells_and_to_parquet_as_it_is(
    tmp_path: Path,
) -> None:
    folder = fabricate(tmp_path / "run", [GREEDY], questions=12)
    journal = next(folder.rglob("journal.jsonl"))
    first, *rest = without_checksums(journal).read_text().splitlines()
    written = "=1\x1b[31m\u202e"
    changed = json.loads(first) | {"answer": written, "key": "@key"}
    journal.write_text("\n".join([json.dumps(changed), *rest]) + "\n")
    export_run(folder, tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_text(encoding="utf-8")
    row = next(
        row for row in csv.DictReader(io.StringIO(text)) if row["kind"] == "final"
    )
    assert (row["answer"], row["key"]) == ("'=1[U+001B][31m[U+202E]", "'@key")
    assert text.replace("\n", "").isprintable()
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="pyarrow is not installed: pip install pyarrow"
    )
    export_run(folder, tmp_path / "table.parquet")
    rows = parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert next(one for one in rows if one["kind"] == "final")["answer"] == written


def test_markdown_is_tables_and_names_cannot_break_them(tmp_path: Path) -> None:
    arms = [GREEDY, Fake("x|<b>_y_", replies=2, ends=("rule", "budget"))]
    text = to_markdown(make_report([fabricate(tmp_path / "run", arms, questions=12)]))
    tables = [
        block.replace(r"\|", "").splitlines()
        for block in text.split("\n\n")
        if block.startswith("|")
    ]
    assert [len(lines) for lines in tables] == [4, 4]
    assert [len({line.count("|") for line in lines}) for lines in tables] == [1, 1]
    assert "<b>" not in text.replace(r"\<b\>", "")
    assert text.endswith("\n")


def test_two_arms_are_compared_question_by_question(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [GREEDY, BEST], questions=40)
    sides = (f"{path}:{BEST.folder}", f"{path}/../run:{GREEDY.folder}")
    (one,) = json.loads(run(compare, *sides, "--json").output)
    right = [
        [record(arm, row).answer == gold(row) for arm in (BEST, GREEDY)]
        for row in range(40)
    ]
    delta = one["delta"]
    assert delta["better"] == sum(a and not b for a, b in right)
    assert delta["worse"] == sum(b and not a for a, b in right)
    assert delta["difference"] == pytest.approx((delta["better"] - delta["worse"]) / 40)
    tokens = [
        sum(record(arm, row).cost.tokens for row in range(40)) for arm in (BEST, GREEDY)
    ]
    assert one["cost_ratio"] == pytest.approx(tokens[0] / tokens[1])
    waited = [
        sum(record(arm, row).cost.sequential_tokens for row in range(40))
        for arm in (BEST, GREEDY)
    ]
    assert one["sequential_ratio"] == pytest.approx(waited[0] / waited[1])
    text = run(compare, *sides).output
    assert "detectable" in text
    assert f"{one['cost_ratio']:.3g}" in text
    assert f"{one['sequential_ratio']:.3g} times as many sequential tokens" in text
    alike = run(compare, sides[0], sides[0]).output
    assert "A costs as much as B" in alike
    assert "A takes as many sequential tokens as B" in alike


def test_runs_share_one_family_of_comparisons(tmp_path: Path) -> None:
    one = fabricate(tmp_path / "one", [GREEDY, VOTE], questions=20)
    other = fabricate(tmp_path / "other", [GREEDY, VOTE], questions=20, seed=0)
    found = json.loads(run(compare, one, other, "--json").output)
    assert [pair["delta"]["family"] for pair in found] == [2, 2]
    model = open_run(one).manifest.model.name
    assert (
        {pair["first_model"] for pair in found}
        == {pair["second_model"] for pair in found}
        == {model}
    )
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{model}"', '"larger"'))
    assert {
        pair["second_model"]
        for pair in json.loads(run(compare, one, other, "--json").output)
    } == {"larger"}


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (("one", "longer"), "3 of 20 differ"),
        (("one", "one:nothing"), "named 'nothing'"),
        (("one", "vote"), "nothing in common"),
        (("one", "missing"), "cannot read the manifest"),
        (("one", "ungraded"), "no question of arithmetic has been finished and graded"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(
    tmp_path: Path, sides: tuple[str, str], message: str
) -> None:
    fabricate(tmp_path / "one", [GREEDY], questions=17)
    fabricate(tmp_path / "longer", [GREEDY], questions=20)
    fabricate(tmp_path / "vote", [VOTE], questions=17)
    fabricate(tmp_path / "ungraded", [GREEDY], questions=17, graded=False)
    done = run(compare, *(tmp_path / side for side in sides))
    assert done.return_value == 2
    assert message in done.output


MIXED = replace(BEST, law=Law(fallback=0.5))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_export_has_a_row_a_reply_and_one_a_final_answer(
    tmp_path: Path, suffix: str
) -> None:
    path = fabricate(tmp_path / "run", [GREEDY, MIXED], questions=10)
    out = tmp_path / f"table{suffix}"
    assert run(export, path, "--out", out).return_value == 0
    rows = read(out)
    assert len(rows) == 10 * (1 + 1) + 10 * (8 + 1)
    finals = [
        row for row in rows if row["kind"] == "final" and row["arm"] == MIXED.folder
    ]
    assert [(row["answer"], int(row["prompt_tokens"])) for row in finals] == [
        (record(MIXED, row).answer, record(MIXED, row).cost.prompt_tokens)
        for row in range(10)
    ]
    assert {row["outcome"] for row in finals} == {"right", "wrong"}
    rules = [
        (one.rule, [reply.rule for reply in one.pool])
        for one in (record(MIXED, row) for row in range(10))
    ]
    assert [row["answer_rule"] for row in finals] == [rule for rule, _ in rules]
    assert {(row["ended_by"], row["reason"]) for row in finals} == {
        ("strategy", "by strategy")
    }
    replies = [
        row for row in rows if row["kind"] == "reply" and row["arm"] == MIXED.folder
    ]
    assert [float(row["score"]) for row in replies] == [
        pytest.approx(one.score) for row in range(10) for one in record(MIXED, row).pool
    ]
    assert [int(row["sample"]) for row in replies[:8]] == list(range(8))
    assert [row["answer_rule"] for row in replies] == [
        rule for _, of in rules for rule in of
    ]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["run", out.name]


def read(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text())))
    return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()  # type: ignore[no-any-return]


def test_an_export_of_what_may_not_be_shown_holds_no_answers(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [VOTE], questions=5, shareable=False)
    out = tmp_path / "table.csv"
    assert run(export, path, "--out", out).return_value == 0
    assert {row["answer"] + row["key"] for row in read(out)} == {""}
