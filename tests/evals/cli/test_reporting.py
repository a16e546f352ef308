"""`reasoner report`: where its files go, that they are whole, and what it refuses."""

import csv
import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.cli.command import Run
from tests.evals.fabricated import GREEDY, Fake, fabricate

VOTE = Fake("self_consistency", pool=2, rule="majority")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(
        tmp_path_factory.mktemp("runs") / "small", [GREEDY, VOTE], questions=12
    )


def test_everything_goes_beside_the_page_and_the_same_run_gives_the_same_bytes(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    shown = run("report", str(folder), "--out", str(tmp_path / "a"))
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines()[-1] == f"{tmp_path}/a/report.html"
    named = sorted(
        str(path.relative_to(tmp_path / "a"))
        for path in (tmp_path / "a").rglob("*")
        if path.is_file()
    )
    assert [name for name in named if not name.startswith("figures/")] == [
        "report.html",
        "results.csv",
        "results.md",
    ]
    figures = [name for name in named if name.startswith("figures/")]
    assert {Path(name).suffix for name in figures} == {".svg", ".png"}
    assert len({Path(name).stem for name in figures}) * 2 == len(figures) >= 8
    assert run("report", str(folder), "--out", str(tmp_path / "b")).code == 0
    for name in named:
        assert (tmp_path / "a" / name).read_bytes() == (
            tmp_path / "b" / name
        ).read_bytes()


@pytest.mark.parametrize("width", [40, 120])
def test_the_results_are_a_table_that_fits_the_terminal(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run("report", str(folder), "--out", str(tmp_path)).out
    *table, empty, page = shown.splitlines()
    assert (empty, page) == ("", f"{tmp_path}/report.html")
    assert max(map(len, table)) <= width
    rows = {
        row["label"]: row
        for row in csv.DictReader((tmp_path / "results.csv").read_text().splitlines())
    }
    for name in ("greedy", "vote of 2"):
        # Where it is narrow, the numbers are below the name.
        pattern = re.compile(rf"{name}  .*|  {name}")
        [line] = [
            line + following
            for line, following in pairwise(table)
            if pattern.fullmatch(line)
        ]
        assert f"{100 * float(rows[name]['acc']):.1f}" in line
        assert f"{float(rows[name]['tokens']):,.0f}" in line


def test_the_page_of_one_run_goes_into_its_folder_under_a_title_of_ones_own(
    run: Run, tmp_path: Path
) -> None:
    own = fabricate(tmp_path / "own", [GREEDY], questions=3)
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    assert run("report", str(own), "--title", "Voting & <more>").code == 0
    assert (
        '<h1 dir="auto">Voting &amp; &lt;more&gt;</h1>'
        in (own / "report.html").read_text()
    )
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["{run}", "{run}"],
            "2 runs are given: name the report's folder with --out DIR",
        ),
        (["{run}", "{run}", "--out", "{new}"], "is given twice: keep one"),
        (
            ["{new}"],
            "cannot read the manifest {new}/manifest.json: No such file or directory: give the folder of a run",
        ),
    ],
)
def test_what_cannot_be_reported_is_reported_in_a_line(
    run: Run, folder: Path, tmp_path: Path, arguments: list[str], error: str
) -> None:
    new = tmp_path / "new"
    shown = run("report", *(one.format(run=folder, new=new) for one in arguments))
    assert shown.code == 2
    assert error.format(new=new) in shown.error
    assert not new.exists()
