"""What help and lists look like, 100 columns wide: files in tests/golden.

They are written again by `REASONER_GOLDEN=update pytest tests/cli/test_golden.py`; look at the difference before you keep it.
"""

import os
from pathlib import Path

import pytest

from tests.cli.command import Run

GOLDEN = Path(__file__).parents[1] / "golden"
COMMANDS = (
    "solve batch serve plan trace list doctor demo calibrate eval grade report view compare merge export pool verifier"
)
LINES = [
    "--help",
    *(f"{command} --help" for command in COMMANDS.split()),
    *(f"verifier {command} --help" for command in ("fit", "calibrate")),
    *(f"list {kind}" for kind in ("strategies", "verifiers", "engines", "tasks", "rules", "answers")),
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
