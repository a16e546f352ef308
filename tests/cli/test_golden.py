"""What help and lists look like, 100 columns wide: files in tests/golden.

They are written again by `REASONER_GOLDEN=update pytest tests/cli/test_golden.py`; look at the difference before you keep it.
"""

import os
import re
from pathlib import Path

import pytest

from tests.cli.command import Run

GOLDEN = Path(__file__).parents[1] / "golden"
COMMANDS = "solve batch serve trace list doctor demo tune eval report view compare runs"
LINES = [
    "--help",
    *(f"{command} --help" for command in COMMANDS.split()),
    *(f"runs {command} --help" for command in ("grade", "export")),
    *(
        f"list {kind}"
        for kind in ("strategies", "verifiers", "engines", "tasks", "rules", "answers")
    ),
    "list strategies best_of_n",
    "list engines ray",
]


@pytest.mark.parametrize("line", LINES)
def test_text(line: str, run: Run) -> None:
    shown = run(*line.split())
    assert (shown.code, shown.err) == (0, "")
    assert max(map(len, shown.out.splitlines())) <= 100
    file = GOLDEN / f"{line.replace(' ', '_').replace('--', '')}.txt"
    if os.environ.get("REASONER_GOLDEN") == "update":
        file.write_text(shown.out, encoding="utf-8")
    assert shown.out == file.read_text(encoding="utf-8")


def test_a_strategy_takes_one_line_of_the_list(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = (
        run("list", "strategies").out.partition("\n\n`reasoner list")[0].splitlines()
    )
    assert [line for line in listed if line.startswith(" ")] == []


@pytest.mark.parametrize("line", [line for line in LINES if line.endswith("--help")])
def test_no_word_of_a_help_is_broken(
    line: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that is longer than a line may be, after a comma, a bar or a bracket."""
    monkeypatch.setenv("COLUMNS", "40")
    shown = run(*line.split()).out.splitlines()
    whole = (
        (GOLDEN / f"{line.replace(' ', '_').replace('--', '')}.txt")
        .read_text(encoding="utf-8")
        .split()
    )
    parts = {part for word in whole for part in re.findall(r"[^,|(]*[,|(]*", word)}
    for word in " ".join(shown).split():
        assert word in whole or parts.issuperset(re.findall(r"[^,|(]*[,|(]*", word)), (
            word
        )
    commands = ("export ", "eval ")
    assert [
        text
        for text in shown
        if len(text) > 40 and not text.lstrip().startswith(commands)
    ] == []
