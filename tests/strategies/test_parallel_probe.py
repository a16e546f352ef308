"""Parallel-Probe: its decisions are those of the published code, and a rule stops only what probes confirm."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from reasoner import Question, Solution, solve_sync
from reasoner.engines.chains import PROBE_TOKENS
from reasoner.engines.pool import PoolEngine
from reasoner.registry import build
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question
from reasoner.trace.events import AnswerExtracted, Event, Sampled
from tests.strategies.driving import chains

Chain = tuple[str, str]
"""The answers of a chain's probes, one a token, and its own answer; E is one that cannot be read."""


class Seen(NamedTuple):
    answer: str | None
    lengths: tuple[int, ...]
    """The tokens of each chain."""
    probes: int
    solution: Solution


def solved(replies: Sequence[Chain], spec: str, path: Path, *, every: int = 1) -> Seen:
    """Recorded chains with a probe at each token, a chain of k probes having k + 1 tokens."""

    def readable(answer: str) -> str | None:
        return None if answer == "E" else answer

    recorded = [
        {
            "question_id": "q",
            "index": index,
            "probes": [readable(said) for said in probes],
            "every": 1,
            "tokens": len(probes) + 1,
            "answer": readable(answer),
        }
        for index, (probes, answer) in enumerate(replies)
    ]
    path.write_text("\n".join(map(json.dumps, recorded)))
    question, events = Question.of("q", space="number", id="q"), list[Event]()
    strategy = build(
        "strategy",
        f"parallel_probe:n={len(replies)},every={every},max_tokens=99,{spec}",
    )
    solution = solve_sync(
        question, strategy, PoolEngine(str(path)), trace=events.append
    )
    assert solution.error is None
    lengths = [0] * len(replies)
    for event in events:
        if isinstance(event, Sampled) and (
            mark := re.match(r"\[chain (\d+): (\d+) of", event.thinking)
        ):
            lengths[int(mark[1])] = int(mark[2])
    probes = sum(isinstance(event, AnswerExtracted) for event in events)
    assert solution.cost.generated_tokens == sum(lengths) + PROBE_TOKENS * probes
    return Seen(
        solution.answer.key if solution.answer else None,
        tuple(lengths),
        probes,
        solution,
    )


def drawn(seed: int) -> list[Chain]:
    """Six chains of 2 to 15 tokens that come to one answer more and more often."""
    source = random.Random(seed)
    lengths = [source.randint(1, 14) for _ in range(6)]
    return [
        (
            "".join(source.choice("7" * (at // 2) + "78899E") for at in range(length)),
            source.choice("7779"),
        )
        for length in lengths
    ]


PUBLISHED: list[tuple[str, tuple[int, ...]]] = [
    ("7", (5, 8, 7, 5, 2, 6)),
    ("9", (4, 9, 7, 9, 5, 3)),
    ("7", (5, 8, 2, 3, 3, 6)),
    ("7", (5, 6, 5, 4, 5, 9)),
    ("9", (5, 5, 3, 6, 8, 6)),
    ("7", (11, 6, 5, 7, 12, 5)),
    ("7", (6, 11, 7, 3, 5, 14)),
    ("7", (7, 4, 8, 9, 2, 3)),
    ("7", (5, 5, 8, 4, 5, 11)),
    ("7", (8, 6, 7, 5, 4, 4)),
    ("7", (5, 2, 6, 6, 9, 2)),
    ("7", (9, 14, 7, 5, 14, 5)),
    ("7", (5, 6, 8, 10, 10, 7)),
    ("7", (6, 6, 10, 5, 5, 6)),
    ("7", (3, 5, 5, 12, 10, 6)),
    ("7", (5, 2, 5, 5, 2, 4)),
]
"""What the published code does with the chains of each seed: its answer, and how far each chain has come."""


@pytest.mark.parametrize("seed", range(len(PUBLISHED)))
def test_its_decisions_are_those_of_the_published_code(
    seed: int, tmp_path: Path
) -> None:
    seen, (answer, lengths) = (
        solved(drawn(seed), "stable=5,patience=2,warmup=2", tmp_path / "p.jsonl"),
        PUBLISHED[seed],
    )
    assert (seen.answer, seen.lengths) == (answer, lengths)
    rounds = max(
        length - (length == len(probes) + 1)
        for length, (probes, _) in zip(lengths, drawn(seed), strict=True)
    )
    assert seen.solution.cost.sequential_tokens == max(lengths) + rounds * PROBE_TOKENS


@pytest.mark.parametrize(
    ("recorded", "answer", "lengths", "probes"),
    [
        # Two short chains agree, and what runs longest says so, or not; what is young is not asked.
        ([("8", "8")] * 2 + [("888888", "9")] * 3, "8", (2, 2, 2, 2, 2), 3),
        ([("8", "8")] * 2 + [("999999", "9")] * 7, "9", (2, 2, *[7] * 7), 7),
        ([("8", "8")] * 2 + [("EEEEEE", "9")] * 3, "8", (2, 2, 2, 2, 2), 3),
    ],
)
def test_a_rule_stops_only_what_long_chains_confirm(
    recorded: list[Chain],
    answer: str,
    lengths: tuple[int, ...],
    probes: int,
    tmp_path: Path,
) -> None:
    seen = solved(recorded, "stop=beta(theta=0.8)", tmp_path / "p.jsonl")
    assert (seen.answer, seen.lengths, seen.probes) == (answer, lengths, probes)


def test_a_majority_that_never_changes_is_stable_after_two_rounds_more(
    tmp_path: Path,
) -> None:
    assert solved([("7" * 20, "7")] * 3, "stable=5", tmp_path / "p.jsonl").lengths == (
        7,
        7,
        7,
    )


def test_what_is_shorter_than_the_mean_is_not_probed_and_ties_go_to_the_shortest(
    tmp_path: Path,
) -> None:
    replies = [("", "7"), ("7", "7"), ("7777", "7"), ("77", "7")]
    assert (
        solved(replies, "stop=beta(theta=0.8),window=3", tmp_path / "p.jsonl").probes
        == 1
    )
    assert (
        solved(
            [("99", "9"), ("8", "8")], "stop=beta", tmp_path / "p.jsonl", every=4
        ).answer
        == "8"
    )


def test_a_window_is_refilled_in_launch_order(tmp_path: Path) -> None:
    replies = [("", "7"), ("999", "9"), *[("", "7")] * 3]
    seen = solved(replies, "stop=beta(theta=0.8),window=2", tmp_path / "p.jsonl")
    # Two votes to none would stop it, and two to one, with the probe, do not.
    assert (seen.answer, seen.lengths, seen.probes) == ("7", (1, 3, 1, 1, 0), 2)


def test_without_probes_only_chains_that_ended_vote() -> None:
    strategy, engine = (
        build("strategy", "parallel_probe:n=3,every=4,max_tokens=99"),
        ScriptedEngine(chains([9, 14, 9], "787")),
    )
    solution = solve_sync(number_question(), strategy, engine)
    assert (solution.answer and solution.answer.key) == "7"
    assert (
        solution.remarks[0] == "no chain could be probed: only chains that ended vote"
    )
