"""The command as a process: what it imports, how it ends."""

import json
import os
import sys
from importlib.metadata import EntryPoint

import pytest

from tests.cli.command import Run, finish, start

IMPORTS = """
import json, sys
before = set(sys.modules)
from reasoner.cli import main
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)
"""


def imported(*arguments: str, depth: int = 1) -> set[str]:
    """What one call imports beside the standard library, by the first `depth` parts of a name."""
    ended = finish(start(*arguments, command=(sys.executable, "-c", IMPORTS)))
    assert ended.out, ended.err
    parts = (name.split(".")[:depth] for name in json.loads(ended.err.splitlines()[-1]))
    return {".".join(each) for each in parts if each[0] not in sys.stdlib_module_names}


@pytest.mark.parametrize(
    "arguments", [("--help",), ("serve", "--help"), ("eval", "--help")]
)
def test_help_imports_nothing_that_takes_time(arguments: tuple[str, ...]) -> None:
    found = imported(*arguments, depth=2)
    assert {name.partition(".")[0].partition("_")[0] for name in found} == {
        "click",
        "reasoner",
    }
    # Of the core only what has the options and the names.
    own = {name for name in found if name.startswith("reasoner.")}
    assert own <= {f"reasoner.{name}" for name in ("cli", "errors", "system")}


HEAVY = {
    *(
        "numpy",
        "scipy",
        "matplotlib",
        "datasets",
        "jinja2",
        "torch",
        "vllm",
        "transformers",
        "huggingface_hub",
    ),
    *("sympy", "math_verify"),
}
"""What takes from 50 ms to seconds to import; a question with a plain number as its answer needs none of it."""


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (("list", "engines"), {"torch", "vllm", "transformers", "rich"}),
        (
            ("solve", "What is 3+4?", "-e", "simulated"),
            HEAVY | {"pydantic", "rich", "httpx", "aiohttp"},
        ),
    ],
)
def test_nothing_slow_is_imported_that_is_not_needed(
    arguments: tuple[str, ...], unneeded: set[str]
) -> None:
    assert not imported(*arguments) & unneeded


def test_it_does_not_wait_for_what_vllm_left_running() -> None:
    stuck = """
import sys, threading, types
sys.modules["torch"] = types.ModuleType("torch")
threading.Thread(target=threading.Event().wait).start()
from reasoner.cli import main
main()
"""
    ended = finish(
        start(
            "solve",
            "What is 3+4?",
            "-e",
            "simulated",
            command=(sys.executable, "-c", stuck),
        )
    )
    assert (ended.code, ended.out) == (0, "7\n")


@pytest.mark.parametrize("what", ["strategies", "answers"])
def test_lists_as_json_hold_what_the_text_holds(what: str, run: Run) -> None:
    rows = json.loads(run("list", what, "--json").out)
    text = run("list", what).out
    assert rows
    for row in rows:
        grouped = ["group"] if what == "strategies" else []
        assert sorted(row) == [*grouped, "name", "options", "what"]
        assert row["what"]
        assert row["name"] in text
        for option, default in row["options"].items() if what == "answers" else ():
            assert (f"{option}={default}" if default else option) in text


def test_a_broken_plug_in_is_listed_as_such(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("mine", "no_such_package:Mine", "reasoner.strategies")
    for module in ("registry", "cli.details"):
        monkeypatch.setattr(f"reasoner.{module}.entries", lambda kind: {"mine": entry})
    ended = run("list", "strategies")
    assert ended.code == 0
    assert (
        "broken: the strategy 'mine' (no_such_package:Mine) cannot be imported"
        in " ".join(ended.out.split())
    )


def completed(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    environment = {
        **os.environ,
        "_REASONER_COMPLETE": "bash_complete",
        "COMP_CWORD": str(len(words)),
    }
    environment["COMP_WORDS"] = "reasoner " + " ".join(words)
    return finish(start(env=environment)).out.split()


def test_a_shell_completes_commands_and_options() -> None:
    assert "plain,solve" in completed("so")
    assert "plain,--context" in completed("solve", "--cont")
