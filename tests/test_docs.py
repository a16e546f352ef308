"""The documentation is run: commands on the simulated engine, code blocks in `tests/engine` where they need a model."""

import json
import re
import shlex
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from reasoner.cli import exits
from reasoner.cli.interrupts import code_of
from tests.cli.command import Run
from tests.cli.conftest import _plain_environment, run

__all__ = ["_plain_environment", "run"]

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "bench/README.md",
    "docs/log.md",
    "docs/answers.md",
    "docs/batch.md",
    "docs/budgets.md",
    "docs/command.md",
    "docs/controller.md",
    "docs/evaluation.md",
    "docs/glossary.md",
    "docs/install.md",
    "docs/python.md",
    "docs/report/README.md",
    "docs/scale.md",
    "docs/servers.md",
    "docs/serving.md",
    "docs/strategies.md",
    "docs/thinking.md",
    "docs/tutorials/data.md",
    "docs/tutorials/gpu.md",
    "docs/tutorials/laptop.md",
    "docs/tutorials/serve.md",
    "docs/tutorials/study.md",
    "docs/vllm.md",
    "examples/README.md",
    "examples/plugin/README.md",
)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    fenced = re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [dedent(block) for block in fenced]


@pytest.mark.process
@pytest.mark.parametrize(
    ("page", "minimum"),
    [
        ("README.md", 5),
        ("docs/batch.md", 2),
        ("docs/command.md", 6),
        ("docs/strategies.md", 3),
        ("docs/evaluation.md", 6),
        ("docs/controller.md", 8),
        ("docs/scale.md", 1),
        ("docs/tutorials/laptop.md", 8),
        ("docs/tutorials/data.md", 5),
        ("docs/tutorials/study.md", 7),
    ],
)
def test_the_commands_on_a_page_run(
    page: str, minimum: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the simulated engine where no other is named; in order, as one leaves a trace for the next."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": f"r{index}", "question": f"What is {index} + 4?", "answer": str(index + 4), "topic": "sums"}
        for index in range(4)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    replies = [
        {"question_id": f"q{index % 2}", "gold": "7", "tokens": 700 + index, "answer": "7", "probes": ["8"]}
        for index in range(8)
    ]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(reply) + "\n" for reply in replies))
    commands = [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line[:2] == "$ "]
    assert len(commands) >= minimum
    for command in commands:
        program, *arguments = shlex.split(command, comments=True)
        if program != "reasoner":
            continue
        if arguments[0] in {"solve", "batch", "eval"} and not {"--engine", "-e"} & set(arguments):
            arguments += ["--engine", "simulated"]
        ended = run(*arguments)
        assert ended.code == 0, (command, ended.err)


@pytest.mark.parametrize("block", range(3))
def test_the_plug_ins_in_contributing_keep_the_laws(block: int) -> None:
    from reasoner import testing
    from reasoner.testing import a_sequence_below_the_floor_is_cut, log_probabilities_are_those_asked_for

    without_logprobs = (a_sequence_below_the_floor_is_cut, log_probabilities_are_those_asked_for)
    code = blocks("CONTRIBUTING.md", "python")
    names: dict[str, Any] = {"__name__": "contributed"}
    sys.modules["contributed"] = module = type(sys)("contributed")
    module.__dict__.update(names)
    try:
        exec(compile(code[block], "CONTRIBUTING.md", "exec"), module.__dict__)
        if "TwoOfThree" in vars(module):
            testing.check_strategy(module.TwoOfThree())
        elif "Dice" in vars(module):
            testing.check_engine(module.Dice(), leave_out=without_logprobs)
        else:
            testing.check_task(module.Squares())
    finally:
        del sys.modules["contributed"]


ELSEWHERE = {
    ("README.md", 0): "tests/engine/test_examples.py",
    ("docs/python.md", 0): "tests/engine/test_examples.py",
    ("docs/servers.md", 0): "tests/engines/test_openai_dialects.py",
    ("docs/serving.md", 0): "tests/serving/test_documentation.py",
    **{("CONTRIBUTING.md", block): "tests/test_docs.py" for block in range(3)},
}
"""The Python blocks that need a model, a server or laws, by page and number, and the tests that run them."""
PYTHON = {
    (page, number): block
    for page in sorted(
        str(path.relative_to(ROOT))
        for name in ("*.md", "docs/**/*.md", "bench/*.md", "examples/**/*.md")
        for path in ROOT.glob(name)
    )
    for number, block in enumerate(blocks(page, "python"))
}
"""All Python blocks of all pages."""


@pytest.mark.parametrize(("page", "number"), [name for name in PYTHON if name not in ELSEWHERE])
def test_each_python_block_of_each_page_runs(
    page: str,
    number: int,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = PYTHON[page, number]
    if '"runs/first"' in code:
        assert (
            run("eval", "arithmetic", "--limit", "3", "-s", "single", "-e", "simulated", "--out", "runs/first").code
            == 0
        )
    capsys.readouterr()
    exec(compile(code, page, "exec"), {"__name__": "__main__"})
    assert bool(capsys.readouterr().out) == ("print(" in code)


@pytest.mark.parametrize(("page", "number"), ELSEWHERE)
def test_a_python_block_that_needs_more_is_run_by_the_test_that_is_named(page: str, number: int) -> None:
    assert (page, number) in PYTHON
    assert Path(page).name in (ROOT / ELSEWHERE[page, number]).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    missing = [target for target in targets if "://" not in target and not ((ROOT / page).parent / target).exists()]
    assert missing == []


def exit_codes(text: str) -> list[int]:
    sentence = " ".join(text.split()).partition("Exit codes: ")[2].partition(".")[0]
    return [int(code) for code in re.findall(r"\d+(?= )", re.sub(r"\(.*?\)", "", sentence))]


@pytest.mark.parametrize(("command", "page"), [("solve", "docs/command.md"), ("batch", "docs/batch.md")])
def test_help_and_page_name_every_exit_code(command: str, page: str, run: Run) -> None:
    codes = [exits.ANSWERED, exits.OTHER, exits.USAGE, exits.EXHAUSTED, exits.ENGINE, code_of(KeyboardInterrupt())]
    assert exit_codes(run(command, "--help").out) == exit_codes((ROOT / page).read_text()) == codes


def test_the_page_of_evaluation_names_all_tasks() -> None:
    from reasoner.registry import entries

    rows = [line for line in (ROOT / "docs/evaluation.md").read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)(?::\w+)?`", row.split("|")[1])}
    assert named >= set(entries("task"))


def test_the_page_of_strategies_names_them_all() -> None:
    from reasoner.registry import entries

    rows = [line for line in (ROOT / "docs/strategies.md").read_text().splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == set(entries("strategy"))
