"""What `reasoner tune` chooses, how often it claims a gain that is none, and what it spends: by laws and recordings.

    python bench/tune.py [RESAMPLES] [QUESTIONS...] [FILE...]

Without a FILE the questions are of simulated laws. Each law has 2,000 questions and 37 candidates at a budget of 4,000
tokens: one greedy sample, votes, best of n and weighted votes of 8, 16 and 32 samples of one pool, three votes that a
rule ends, seven searches in three sizes, and the shortest three of 8, 16 and 32 chains. Their accuracies on all
questions are the truth. A resample takes some of the questions (150 and 600 by default), races two thirds of them as
the command does, and judges with the others. The tokens count the sizes, the race and the judge, against all candidates
on all questions, each by itself or with the samples of the pool drawn once. Two columns say what the same rule of
choice reaches where all candidates answer all questions that race, and all questions of the resample.

A FILE has recorded answers or chains of a real model (bench/README.md: sources), or is a recording in bench/recordings;
at most 64 samples a question are used. Its candidates are a single sample (the greedy one, where it is recorded), votes
of a quarter, a half and all of the samples, votes that a rule ends, the shortest three of each, and with recorded
scores the best one and weighted votes. The budget is what all samples cost. What a candidate does on a question is its
mean over subsets or orders of the samples, and its accuracy on all questions of the FILE is the truth. A resample draws
its questions with replacement.
"""

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from replies import questions_in
from scipy.stats import norm

from reasoner.registry import build
from reasoner_evals.calibration.outcomes import Samples, random_orders, stopped
from reasoner_evals.stats import Bools, Floats, Ints
from reasoner_evals.stats.estimators import best_of_k, votes_at_k
from reasoner_evals.tuning.candidates import LEAST, PARTS, PILOT, STOPS
from reasoner_evals.tuning.race import Race, rounds
from reasoner_evals.tuning.sizes import TRIALS
from reasoner_evals.tuning.split import JUDGES
from reasoner_evals.tuning.verdict import SINGLES, JudgedStrategy, verdict

POPULATION = 2000
POOL, LENGTH = 32, 125.0
SIZES = (8, 16, 32)
GOAL = POOL * LENGTH
SEARCHES = {
    "beam": 0.0,
    "rebase": 0.02,
    "refine": -0.05,
    "mcts": -0.02,
    "tournament": -0.03,
    "ask": -0.04,
    "tree": -0.1,
}
"""How much more often than a single sample their parts are right; they have half as many as a vote of equal cost."""


@dataclass(frozen=True, slots=True)
class Law:
    """How a question comes out: the chance p that a sample is right is drawn from Beta(`a`, `b`)."""

    a: float
    b: float
    wrong: int = 6
    """How many wrong answers share the rest."""
    greedy: float = 0.0
    """Added to p for the greedy sample."""
    auroc: float = 0.6
    """How well the verifier tells right samples from wrong ones."""
    longer: float = 1.0
    """How many times as long wrong samples are."""


LAWS = {
    "votes help": Law(3, 3),
    "level": Law(0.03, 0.02, wrong=1),
    "a verifier helps": Law(1.2, 2.5, wrong=1, auroc=0.93),
    "greedy wins": Law(2, 2.2, wrong=1, greedy=0.4, auroc=0.5),
    "short chains win": Law(1.5, 2, wrong=1, longer=3.0),
}


class Field(NamedTuple):
    """The candidates on all questions of a law: [K, Q]."""

    names: list[str]
    right: Floats
    tokens: Floats
    shared: Bools
    """[K]: those that select from the pool."""
    goal: float
    votes: list[int]
    """The plain votes."""


def field(law: Law, source: np.random.Generator) -> Field:
    """The candidates of a law."""
    p = source.beta(law.a, law.b, POPULATION)

    def answers(n: int, lift: float = 0.0) -> Ints:
        hit = source.random((POPULATION, n)) < np.clip(p + lift, 0, 1)[:, None]
        return np.where(hit, 0, 1 + source.integers(0, law.wrong, (POPULATION, n)))

    pool = answers(POOL)
    right = (pool == 0).astype(float)
    apart = np.sqrt(2) * norm.ppf(law.auroc)
    scores = norm.cdf(source.normal(size=pool.shape) + apart * right)
    lengths = source.gamma(4, 0.25, pool.shape) * np.where(right == 1, 1.0, law.longer)
    lengths *= LENGTH / lengths.mean()
    rows: list[tuple[str, Floats, Floats, bool]] = []
    greedy = (source.random(POPULATION) < np.clip(p + law.greedy, 0, 1)).astype(float)
    rows.append(("greedy", greedy, np.full(POPULATION, LENGTH), False))
    mean = lengths.mean(axis=1)
    votes = votes_at_k(right, pool, SIZES)
    weighted = votes_at_k(right, pool, SIZES, scores)
    best = best_of_k(right, scores, SIZES)
    for at, n in enumerate(SIZES):
        rows += [
            (f"{name}{n}", table[:, at], mean * n, True)
            for name, table in (("vote", votes), ("best", best), ("weighted", weighted))
        ]
    agreement = np.abs(right.mean(axis=1) - 0.5) * 2
    for theta, loss, part in ((0.99, 0.0, 0.5), (0.95, 0.004, 0.3), (0.9, 0.01, 0.2)):
        used = POOL * np.clip(part * (1.6 - agreement), 0.1, 1)
        rows.append(
            (f"stop{theta}", np.clip(votes[:, -1] - loss, 0, 1), mean * used, True)
        )
    for name, lift in SEARCHES.items():
        for n in SIZES:
            drawn = answers(n // 2, lift)
            counts = np.stack(
                [(drawn == answer).sum(axis=1) for answer in range(law.wrong + 1)],
                axis=1,
            )
            rival = counts[:, 1:].max(axis=1)
            won = (counts[:, 0] > rival) + 0.5 * (counts[:, 0] == rival)
            rows.append(
                (
                    f"{name}{n}",
                    (source.random(POPULATION) < won).astype(float),
                    np.full(POPULATION, LENGTH * n),
                    False,
                )
            )
    for n in SIZES:
        order = np.argsort(lengths[:, :n], axis=1)[:, :3]
        third = np.take_along_axis(lengths, order[:, 2:], axis=1)
        most = (np.take_along_axis(right, order, axis=1).sum(axis=1) >= 2).astype(float)
        rows.append(
            (f"short{n}", most, np.minimum(lengths[:, :n], third).sum(axis=1), False)
        )
    names, outcomes, tokens, shared = zip(*rows, strict=True)
    plain = [names.index(f"vote{n}") for n in SIZES]
    return Field(
        list(names), np.stack(outcomes), np.stack(tokens), np.array(shared), GOAL, plain
    )


MOST = 64
"""The most samples of a question that are used."""


class Recording(NamedTuple):
    """The samples of Q questions: arrays [Q, N], and the greedy ones [Q], where they are recorded."""

    right: Bools
    classes: Ints
    tokens: Floats
    scores: Floats | None
    greedy: tuple[Floats, Floats] | None
    """Whether it is right, and its tokens."""


def read(file: Path) -> Recording:
    """A recording, or a file of answers or chains. Questions without all samples are left out."""
    if file.suffix == ".gz":
        return replies_in(file)
    rows = questions_in(file)
    drawn = [
        [(reply["answer"], reply["tokens"]) for reply in row["replies"]] for row in rows
    ]
    n = min(MOST, *map(len, drawn))
    golds = [key(row["gold"]) for row in rows]
    right = [
        [key(answer) == gold for answer, _ in samples[:n]]
        for samples, gold in zip(drawn, golds, strict=True)
    ]
    classes = [numbered([answer for answer, _ in samples[:n]]) for samples in drawn]
    tokens = [[spent for _, spent in samples[:n]] for samples in drawn]
    return Recording(
        np.array(right), np.array(classes), np.array(tokens, float), None, None
    )


def replies_in(file: Path) -> Recording:
    """The replies that bench/real/record.py wrote."""
    questions: dict[str, dict[int, dict[str, Any]]] = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            questions.setdefault(row["question_id"], {})[row["index"]] = row
    n = max(len(each) for each in questions.values()) - 1
    whole = [each for each in questions.values() if len(each) == n + 1]
    drawn = [[each[index] for index in range(n)] for each in whole]

    def column(name: str) -> Floats:
        return np.array([[row[name] for row in rows] for rows in drawn], float)

    greedy = [
        np.array([each[-1][name] for each in whole], float)
        for name in ("right", "tokens")
    ]
    return Recording(
        column("right") == 1,
        np.array([numbered([row["answer"] for row in rows]) for rows in drawn]),
        column("tokens"),
        column("score"),
        (greedy[0], greedy[1]),
    )


def key(answer: str | None) -> str:
    """Equal for equal answers: numbers by their values, other texts as they are."""
    text = (answer or "").strip()
    try:
        return repr(float(text.replace(",", "")))
    except ValueError:
        return text


def numbered(answers: Sequence[str | None]) -> list[int]:
    """The class of each answer; -1 without one."""
    known: dict[str, int] = {}
    return [
        known.setdefault(text, len(known)) if (text := key(answer)) else -1
        for answer in answers
    ]


def field_of(recording: Recording, name: str) -> Field:
    """The candidates of a recording."""
    right, classes, tokens, scores, greedy = recording
    questions, n = right.shape
    sizes = list(dict.fromkeys(max(round(part * n), min(n, LEAST)) for part in PARTS))
    hit, mean = right.astype(float), tokens.mean(axis=1)
    single = greedy or (hit.mean(axis=1), mean)
    rows: list[tuple[str, Floats, Floats, bool]] = [("single", *single, False)]
    tables = {"vote": votes_at_k(hit, classes, sizes)}
    if scores is not None:
        tables["best"] = best_of_k(hit, scores, sizes)
        tables["weighted"] = votes_at_k(hit, classes, sizes, scores)
    for kind, table in tables.items():
        rows += [
            (f"{kind}{size}", table[:, at], mean * size, True)
            for at, size in enumerate(sizes)
        ]
    none = np.zeros(questions)
    samples = Samples(right, classes, tokens, tokens, none, none)
    orders = random_orders([f"{name}/{at}" for at in range(questions)], n)
    vote = build("strategy", f"self_consistency:n={n}")
    for stop, order in STOPS:
        ended = stopped(samples, orders, vote, stop, order)
        rows.append((stop, ended.right.mean(axis=1), ended.tokens.mean(axis=1), True))
    for size in sizes:
        rows.append((f"short{size}", *shortest(recording, orders[..., :size]), False))
    names, outcomes, costs, shared = zip(*rows, strict=True)
    plain = [names.index(f"vote{size}") for size in sizes]
    return Field(
        list(names),
        np.stack(outcomes),
        np.stack(costs),
        np.array(shared),
        float(tokens.sum(axis=1).mean()),
        plain,
    )


def shortest(recording: Recording, orders: Ints) -> tuple[Floats, Floats]:
    """The vote of the three shortest samples of each order, [Q, R, k], and its tokens: a tie goes to the shortest."""
    lengths = np.take_along_axis(recording.tokens[:, None], orders, -1)
    classes = np.take_along_axis(recording.classes[:, None], orders, -1)
    right = np.take_along_axis(recording.right[:, None], orders, -1)
    first = np.argsort(lengths, axis=-1, kind="stable")[..., :3]
    three = np.take_along_axis(classes, first, -1)
    voted = np.take_along_axis(right, first, -1)
    agree = ((three[..., None] == three[..., None, :]) & (three >= 0)[..., None]).sum(
        -1
    )
    leader = np.argmax(agree, axis=-1)[..., None]
    third = np.take_along_axis(lengths, first[..., -1:], -1)
    spent = np.minimum(lengths, third).sum(axis=-1)
    won = np.take_along_axis(voted, leader, -1)[..., 0]
    return won.mean(axis=1), spent.mean(axis=1)


class Result(NamedTuple):
    """One race."""

    chosen: int
    spent: float
    gains: tuple[str, ...]
    """The baselines over which a gain is claimed."""
    informed: tuple[int, int]
    """What is chosen where all candidates answer the questions that race, and all questions."""


def tuned(of: Field, asked: np.ndarray) -> Result:
    """A race and its judge on these questions, as the command runs them."""
    racing, judging = asked[: -len(asked) // JUDGES], asked[-len(asked) // JUDGES :]
    right, tokens = of.right[:, racing], of.tokens[:, racing]
    candidates = len(of.names)
    goal = of.goal
    race = Race(right[:, :0], tokens[:, :0], tokens[:, :0], goal)
    own = of.tokens.mean(axis=1)
    spent = PILOT * TRIALS * (own[~of.shared].sum() + goal)

    def price(inside: Sequence[int]) -> float:
        kept = np.zeros(candidates, dtype=bool)
        kept[list(inside)] = True
        costs = race.expected_costs
        return float(
            costs[kept & ~of.shared].sum()
            + (costs[of.shared].max() if (kept & of.shared).any() else 0.0)
        )

    blocks = rounds(len(racing))
    judge = 2 * goal * len(judging)
    for number, block in enumerate(blocks, 1):
        left = (race.limit(len(asked)) - spent - judge) / len(block)
        if number > 1:
            race.thin_out(price, len(blocks) - number + 1, left)
        inside = race.inside
        if len(inside) == 1 or price(inside) > left:
            break
        part = slice(block.start, block.stop)
        row = np.isin(np.arange(candidates), inside)[:, None]
        race.right = np.concatenate(
            [race.right, np.where(row, right[:, part], np.nan)], axis=1
        )
        race.tokens = np.concatenate(
            [race.tokens, np.where(row, tokens[:, part], np.nan)], axis=1
        )
        spent += price(inside) * len(block)
        race.look()
    chosen = race.choice()
    vote = min(
        of.votes, key=lambda who: abs(own[who] - (own[chosen] if chosen else goal))
    )
    names = {SINGLES[0]: 0, "a plain vote": vote}
    if chosen not in names.values():
        names["the choice of the race"] = chosen
    judged = {
        who: JudgedStrategy(
            of.names[who], of.right[who, judging], *([of.tokens[who, judging]] * 3)
        )
        for who in names.values()
    }
    spent += sum(float(each.tokens.sum()) for each in judged.values())
    baselines = [(name, judged[who]) for name, who in names.items()]
    judgement = verdict(judged[chosen], baselines)
    if better := judgement.better:
        chosen = names[better.name]
        judgement = verdict(judged[chosen], baselines)
    truth = of.right.mean(axis=1)
    wrong = [
        each.name
        for each in judgement.comparisons
        if each.gain and truth[chosen] <= truth[names[each.name]]
    ]
    return Result(
        chosen,
        spent,
        tuple(wrong),
        (chosen_by_all(of, racing), chosen_by_all(of, asked)),
    )


def chosen_by_all(of: Field, asked: np.ndarray) -> int:
    """What is chosen where all candidates answer these questions."""
    right, tokens = of.right[:, asked], of.tokens[:, asked]
    return Race(right, tokens, tokens, of.goal).choice()


def line(name: str, of: Field, count: int, resamples: int) -> str:
    """The result of races on a number of its questions, as a row of the table."""
    source = np.random.default_rng(0)
    truth, own = of.right.mean(axis=1), of.tokens.mean(axis=1)
    population = len(of.right[0])
    results = [
        tuned(of, source.choice(population, count, replace=population < POPULATION))
        for _ in range(resamples)
    ]
    choices = np.array([(each.chosen, *each.informed) for each in results]).T
    lost = truth.max() - truth[choices]
    near = [
        f"{np.mean(each <= 0.01):.0%}, {100 * each.mean():.2f}" for each in lost[1:]
    ]
    alone = own.sum() * count
    once = (own[~of.shared].sum() + own[of.shared].max()) * count
    spent = np.mean([each.spent for each in results])
    chosen, times = np.unique([each.chosen for each in results], return_counts=True)
    often, best = int(chosen[times.argmax()]), int(truth.argmax())
    accuracy = np.mean([truth[each.chosen] for each in results])
    false = np.mean([bool(each.gains) for each in results])
    return (
        f"| {name} | {count} | {of.names[often]} {times.max() / resamples:.0%} | {100 * accuracy:.1f} "
        f"| {of.names[best]} {100 * truth[best]:.1f} | {100 * truth[0]:.1f} | {100 * lost[0].mean():.2f} "
        f"| {np.mean(lost[0] <= 0.01):.1%} | {' | '.join(near)} | {false:.1%} "
        f"| {spent / alone:.0%} ({spent / once:.0%}) |"
    )


def fields(files: Sequence[Path]) -> Iterator[tuple[str, Field]]:
    """The laws, or these recordings, by name."""
    for name, law in LAWS.items() if not files else ():
        yield name, field(law, np.random.default_rng(0))
    for file in files:
        recording = read(file)
        name = f"{file.name.partition('.')[0]}, {len(recording.right):,}"
        yield name, field_of(recording, file.name)


def main(resamples: int, counts: list[int], files: list[Path]) -> None:
    print(
        "| | questions | chosen most often | its accuracy on average | best | single | points lost | within a point "
        "| and points lost by all on the race's questions | by all on all questions "
        "| false claims | tokens of all (the pool once) |"
    )
    print("|---" * 12 + "|")
    for name, of in fields(files):
        for count in counts:
            print(line(name, of, count, resamples), flush=True)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each.isdigit()]
    main(
        (numbers or [300])[0],
        numbers[1:] or [150, 600],
        [Path(each) for each in sys.argv[1:] if not each.isdigit()],
    )
