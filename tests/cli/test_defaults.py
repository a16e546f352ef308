"""What commands take where nothing is typed: variables, found settings; and classes of a user's own files."""

from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.system.files import parse_json
from tests.cli.command import Run

ASKED = ("solve", "What is 3 + 4?", "--json")
VOTE = """
from dataclasses import dataclass

from reasoner_strategies import SelfConsistency


@dataclass(frozen=True, slots=True)
class Pair(SelfConsistency):
    n: int = 2
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


def samples(run: Run, *more: str) -> int:
    ended = run(*ASKED, *more)
    assert ended.code == 0, ended.err
    return int(parse_json(ended.out)["cost"]["samples"])


def test_a_variable_names_the_engine_of_all_commands_and_what_is_typed_goes_first(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REASONER_ENGINE", "simulatd")
    for command in (ASKED, ("demo",), ("doctor",), ("eval", "arithmetic")):
        assert "did you mean 'simulated'" in run(*command).error
    monkeypatch.setenv("REASONER_MODEL", "nothing")
    assert samples(run, "-e", "simulated") == 8
    monkeypatch.setenv("REASONER_ENGINE", "simulated")
    assert "takes no --model" in run(*ASKED).error
    monkeypatch.setenv("REASONER_SOLVE_ENGINE", "simulatd")
    assert "did you mean" in run(*ASKED).error


def test_settings_are_found_in_the_folder_or_in_the_users_own(
    run: Run, tmp_path: Path
) -> None:
    own, here = tmp_path / "home/reasoner/reasoner.toml", tmp_path / "reasoner.toml"
    own.parent.mkdir(parents=True)
    own.write_text(
        '[default]\nstrategy = "vote16"\n[model]\nengine = "simulated:tokens=9"\n'
    )
    assert samples(run) == 16
    assert samples(run, "-s", "vote8") == 8
    here.write_text('[default]\nstrategy = "vote8"\n[model]\nengine = "simulated"\n')
    assert samples(run) == 8
    assert samples(run, "-s", "single", "-e", "simulated") == 1
    assert run("demo").out.startswith("simulated on simulated")
    assert run("eval", "arithmetic", "--limit", "4", "--out", "first").code == 0
    here.write_text('[default]\nstrategy = "single"\n')
    assert run("eval", "--resume", "first").code == 0


@pytest.mark.parametrize(
    "text",
    [
        '[model]\nbase_url = "http://127.0.0.1:9/v1"',
        '[model]\nengine = "openai:base_url=http://127.0.0.1:9/v1"',
        '[default]\nstrategy = "best_of_n"\nverifier = "judge:engine=simulated"',
        '[default]\nstrategy = "best_of_n"\nverifier = "mine"\n[verifiers]\nmine = "certainty"',
        '[default]\nstrategy = "auto:profile=file.json"',
        '[default]\nstrategy = "vote.py:Pair"',
    ],
)
def test_a_folder_that_somebody_else_made_sends_prompts_nowhere_and_runs_nothing(
    text: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "vote.py").write_text("raise SystemExit(9)")
    (tmp_path / "reasoner.toml").write_text(text)
    ended = run(*ASKED, "-e", "simulated")
    assert (ended.code, len(ended.error.splitlines())) == (2, 1)
    assert (
        "reasoner.toml" in ended.error or "no strategy named 'vote.py'" in ended.error
    )


def test_a_class_of_a_file_that_was_typed_is_an_ordinary_one_afterwards(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "vote.py").write_text(VOTE)
    with pytest.raises(UsageError, match=r"no strategy named 'vote\.py'"):
        build("strategy", "vote.py:Pair")
    assert samples(run, "-e", "simulated", "-s", "./vote.py:Pair") == 2
    nested = "best_of_n(n=2,of=vote.py:Pair)"
    assert samples(run, "-e", "simulated", "-s", nested) == 4
    arms = ("-s", "vote.py:Pair:n=3", "-s", "single", "--limit", "4", "--out", "own")
    assert run("eval", "arithmetic", "-e", "simulated", *arms).code == 0
    assert run("report", "own").code == 0


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("vote.py", "name a class of vote.py, as in vote.py:Pair"),
        ("vote.py:Par", "did you mean 'Pair'"),
        ("no.py:Pair", "there is no file no.py"),
        ("broken.py:Pair", "(broken.py:1)"),
        ("single.py:Single", "there is no file single.py"),
        ("unheard", "such as universal"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(
    spec: str, told: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "vote.py").write_text(VOTE)
    (tmp_path / "broken.py").write_text("1 / 0")
    ended = run(*ASKED, "-e", "simulated", "-s", spec)
    assert (ended.code, len(ended.error.splitlines())) == (2, 1)
    assert told in ended.error
