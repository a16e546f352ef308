"""Strategies, rules, verifiers and tasks of one's own that fail: the error says where, the traceback is one option away."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import Ended, finish, start

MINE = """
from dataclasses import dataclass

from reasoner import Cost
from reasoner.strategy import Propose
from reasoner.types import Answer, VoteState
from reasoner.verifier import FreeVerifier

def helper():
    return int("no number")  # here

@dataclass(frozen=True)
class MyStrategy:
    uses_verifier = False

    def plan(self, question):
        yield Propose(Answer("1", "1"), VoteState())
        helper()

@dataclass(frozen=True)
class MyRule:
    def stop(self, vote_state, cost):
        helper()

@dataclass(frozen=True)
class MyVerifier(FreeVerifier):
    logprobs = None

    async def score(self, question, candidate, policy, cost_meter):
        helper()

@dataclass(frozen=True)
class MyTask:
    def __post_init__(self):
        helper()
"""
LINE = 1 + MINE[: MINE.index("# here")].count("\n")
ENTRIES = """
[reasoner.strategies]
mine = mine:MyStrategy
[reasoner.rules]
mine = mine:MyRule
[reasoner.verifiers]
mine = mine:MyVerifier
[reasoner.tasks]
unmade = mine:MyTask
"""


@pytest.fixture
def with_mine(tmp_path: Path) -> Callable[..., Ended]:
    """Runs the command where a package of one's own is installed."""
    (tmp_path / "mine.py").write_text(MINE)
    package = tmp_path / "mine-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: mine\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(ENTRIES)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }

    def run(*arguments: str) -> Ended:
        return finish(start(*arguments, cwd=tmp_path, env=environment))

    return run


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("solve", "How many?", "-e", "simulated", "-s", "mine"),
            "the strategy failed with ValueError: ",
        ),
        (
            ("solve", "3+4?", "-e", "simulated", "-s", "self_consistency:stop=mine"),
            "the strategy failed with ValueError: ",
        ),
        (
            ("eval", "unmade", "-e", "simulated", "--out", "run"),
            "the task unmade failed with ValueError: ",
        ),
    ],
)
def test_the_error_says_where(
    with_mine: Callable[..., Ended], arguments: tuple[str, ...], error: str
) -> None:
    ended = with_mine(*arguments)
    assert ended.code == (2 if "unmade" in arguments else 1)
    assert ended.error.startswith(f"error: {error}")
    assert ended.error.endswith(f" (mine.py:{LINE})")


def test_the_traceback_is_shown_with_verbose(with_mine: Callable[..., Ended]) -> None:
    ended = with_mine(
        "solve", "How many?", "-e", "simulated", "-s", "mine", "--verbose"
    )
    assert "Traceback (most recent call last):\n" in ended.err
    assert 'return int("no number")  # here\n' in ended.err
    assert ended.err.splitlines()[-1].endswith(f" (mine.py:{LINE})")


def test_an_answer_without_a_rating_is_given_and_is_a_failure(
    with_mine: Callable[..., Ended],
) -> None:
    ended = with_mine(
        "solve",
        "What is 3 + 4?",
        "-e",
        "simulated",
        "-s",
        "best_of_n:n=4",
        "--verifier",
        "mine",
    )
    assert (ended.code, ended.out) == (1, "7\n")
    assert ended.error.startswith("error: all 4 ratings failed (ValueError: ")
    assert ended.error.endswith(": the answer was chosen without the verifier")
