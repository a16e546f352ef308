"""Settings of the vote that predicts itself, on recorded chains, and whether a choice among them holds elsewhere.

    python bench/published.py contested pool.jsonl > contested.jsonl
    python bench/forecast.py pool.jsonl contested.jsonl [--orders 6]

The first file is a pool of chains with probes, the second one has hard cases made of it. The rounds of chains are
followed here without an engine, by the product's rule and its numbers: `bench/parallel_thinking.py` has the same costs.
64 chains of each question are drawn in `--orders` orders. Prints for each setting: right answers, votes that are lost
against all 64 chains, thousands of tokens and of sequential tokens, and the contested votes lost. A probe costs 20.

Then half of the questions choose a setting, in 1,000 random halves: the fewest sequential tokens of those that take at
most a tenth more tokens than the first setting and lose no more votes of either file. The other half judges it, with 95
% intervals over the halves. The first setting is the rule as it was: it gave up on the leader alone, from 8 chains on.
"""

import itertools
import json
import random
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from parallel_thinking import reordered

from reasoner.budget import Cost
from reasoner.engines.chains import PROBE_TOKENS
from reasoner.stopping.forecast import UNDECIDED, Predict, forecast
from reasoner.stopping.rules import STRAGGLER_LENGTH
from reasoner.types import Answer, Vote, VoteState
from reasoner_strategies._search.predicted_vote import SEVERAL, WINDOW

N, EVERY, HALVES = 64, 500, 1000
"""Chains of a question, tokens of a round, and random halves of the questions."""


class Chain(NamedTuple):
    """A recorded chain: its length, its answer, and the one it would have given after each round."""

    tokens: int
    answer: str | None
    trials: Sequence[str | None]

    @classmethod
    def of(cls, recorded: dict[str, Any]) -> "Chain":
        trials = [
            answer for answer, times in recorded["probes"] for _ in range(times)
        ] or [None]
        read = [None if answer == "ERR" else answer for answer in trials]
        answer = recorded["answer"]
        return cls(recorded["tokens"], None if answer == "ERR" else answer, read)

    def trial(self, tokens: int) -> str | None:
        return self.trials[min(tokens // EVERY, len(self.trials)) - 1]


@dataclass(frozen=True, slots=True)
class OnLeader:
    """The rule as it was: it gives up where the leader alone has no majority, from 8 ended chains on."""

    z: float = 2.5

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        if reason := Predict(z=self.z, hopeless=1e-99).stop(vote_state, cost):
            return reason
        final = forecast(vote_state)[1][0]
        short = vote_state.max_samples / 2 - final.mean > 1.645 * final.deviation
        return "hopeless" if vote_state.samples >= 8 and short else None


class Setting(NamedTuple):
    """A rule and how many chains run, first and once several have ended."""

    rule: Any
    window: int
    later: int

    def __str__(self) -> str:
        rule = "as it was" if isinstance(self.rule, OnLeader) else "predict"
        return f"{rule}, z={self.rule.z:g}, {self.window} then {self.later}"


def leader_of(answers: Sequence[str | None]) -> str | None:
    """The answer of most chains, in launch order; at a tie the earlier one."""
    votes = Counter(answer for answer in answers if answer is not None)
    return votes.most_common(1)[0][0] if votes else None


def follow(chains: Sequence[Chain], setting: Setting) -> tuple[str | None, int, int]:
    """The answer of a vote, its tokens and its sequential tokens."""
    grown, ended, launched = [0] * len(chains), list[int](), 0
    running, tokens, sequential = list[int](), 0, 0
    while True:
        mean = sum(chains[at].tokens for at in ended) / max(len(ended), 1)
        answers = [chains[at].answer for at in sorted(ended)]
        votes = [
            Vote(Answer(answer, answer), float(count), count)
            for answer, count in Counter(filter(None, answers)).most_common()
        ]
        old = [at for at in running if ended and grown[at] > STRAGGLER_LENGTH * mean]
        state = VoteState(
            tuple(votes),
            len(ended),
            max_samples=len(chains),
            stragglers=len(old),
            trials=(len(old),),
        )
        if ended and setting.rule.stop(state, Cost()):
            trials = Counter(filter(None, (chains[at].trial(grown[at]) for at in old)))
            known = [trials.pop(vote.answer.text, 0) for vote in votes]
            tokens += PROBE_TOKENS * len(old)
            sequential += PROBE_TOKENS * bool(old)
            asked = replace(state, trials=(*known, *trials.values()))
            if setting.rule.stop(asked, Cost()):
                break
        if not running and launched == len(chains):
            break
        room = setting.window if len(ended) < SEVERAL else setting.later
        more = min(max(0, room - len(running)), len(chains) - launched)
        running += range(launched, launched + more)
        launched += more
        steps = {at: min(EVERY, chains[at].tokens - grown[at]) for at in running}
        for at, step in steps.items():
            grown[at] += step
        tokens, sequential = (
            tokens + sum(steps.values()),
            sequential + max(steps.values()),
        )
        ended += [at for at in running if grown[at] == chains[at].tokens]
        running = [at for at in running if grown[at] < chains[at].tokens]
    return leader_of([chains[at].answer for at in sorted(ended)]), tokens, sequential


def measured(file: Path, setting: Setting, orders: int) -> dict[str, np.ndarray]:
    """By recorded question [4]: shares right and of lost votes, thousands of tokens and of sequential tokens."""
    lines = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
    totals: dict[str, np.ndarray] = {}
    counts = Counter[str]()
    for order in range(orders):
        source = random.Random(order)
        for line in lines:
            drawn = reordered(line, N, source)
            chains = [Chain.of(each) for each in drawn["chains"]]
            answer, tokens, sequential = follow(chains, setting)
            right = answer == line["gold"]
            whole = leader_of([chain.answer for chain in chains]) == line["gold"]
            # A contested case is named after the question that it was made of.
            name = "/".join(line["question_id"].split("/")[:2])
            row = (right, whole and not right, tokens / 1e3, sequential / 1e3)
            totals[name] = totals.get(name, np.zeros(4)) + np.array(row, dtype=float)
            counts[name] += 1
    return {name: total / counts[name] for name, total in totals.items()}


def main() -> None:
    """Print the table, then what the choice of one half gives on the other."""
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs=2, type=Path, metavar="FILE")
    parser.add_argument("--orders", type=int, default=6)
    given = parser.parse_args()
    settings = [
        Setting(OnLeader(), WINDOW, 2 * WINDOW),
        *(
            Setting(Predict(z=z), window, 2 * window)
            for window, z in itertools.product(
                (12, 16, 18, 20), (2, 2.25, 2.5, 2.75, 3)
            )
        ),
    ]
    print(f"gives up from {UNDECIDED} ended chains on; {given.orders} orders")
    tables = []
    for setting in settings:
        plain, hard = (measured(file, setting, given.orders) for file in given.files)
        # A row: four numbers of the recordings, and the lost share of the contested cases, nan where there are none.
        table = np.array(
            [[*plain[name], hard.get(name, np.full(4, np.nan))[1]] for name in plain]
        )
        tables.append(table)
        right, lost, tokens, sequential, contested = np.nanmean(table, axis=0)
        print(
            f"| {setting} | {100 * right:.1f} | {100 * lost:.1f} | {tokens:.0f} "
            f"| {sequential:.2f} | {100 * contested:.0f} |",
            flush=True,
        )
    judged(np.array(tables), settings)


def judged(tables: np.ndarray, settings: Sequence[Setting]) -> None:
    """Choose on random halves of the questions and print the mean change on the others; `tables` is [S, Q, 5]."""
    source, changes = np.random.default_rng(0), list[np.ndarray]()
    chosen = Counter[str]()
    for _ in range(HALVES):
        ours, held = np.split(
            source.permutation(tables.shape[1]), [tables.shape[1] // 2]
        )
        means = np.nanmean(tables[:, ours], axis=1)
        first = means[0] + 1e-9
        allowed = (
            (means[:, 1] <= first[1])
            & (means[:, 2] <= 1.1 * first[2])
            & (means[:, 4] <= first[4])
        )
        best = int(np.where(allowed, means[:, 3], np.inf).argmin())
        chosen[str(settings[best])] += 1
        there = np.nanmean(tables[:, held], axis=1)
        changes.append(there[best] - there[0])
    for name, values in zip(
        ("right", "lost", "tokens", "sequential", "contested lost"),
        np.transpose(changes),
        strict=True,
    ):
        low, high = np.percentile(values, (2.5, 97.5))
        print(f"{name}: {values.mean():+.3f} ({low:+.3f} to {high:+.3f})")
    print(", ".join(f"{name}: {times}" for name, times in chosen.most_common(6)))


if __name__ == "__main__":
    main()
