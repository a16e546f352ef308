"""The decisions of treequest, its_hub and llm-verifier beside ours, on the same numbers.

    python bench/reference/compare.py [--cases 1000] [ALGORITHM...]

It installs the packages of requirements.txt into an environment of its own with uv, and removes it at the end. Ours
decide here, theirs there (theirs.py); cases and decisions go through JSON. A line for each algorithm says how many
decisions are equal, and why others are not; "changed" counts again after one change to the package, which the line
names. Numbers are equal if they differ by at most a millionth.
"""

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reasoner import Cost, solve_sync
from reasoner.engine import Engine, SampleRequest
from reasoner.stopping.vote_posteriors import beta_lead
from reasoner.strategy import Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge as Rater
from reasoner.testing.support import completion, number_question
from reasoner.types import NO_LOGPROB, Logprobs, TokenIds
from reasoner.verifier import CostMeter, Verifier
from reasoner_strategies import BeamSearch, BestOfN, SelfConsistency
from reasoner_strategies._voting.pool import softmax
from reasoner_strategies.ab_mcts import AnswerTree, TreeArm
from reasoner_strategies.particle_filter import logit, systematic
from reasoner_verifiers import Judge

HERE = Path(__file__).parent
QUESTION = number_question()
LETTERS = "ABCDEFGHIJKLMNOPQRST"
Case = dict[str, Any]


class Comparison(NamedTuple):
    """An algorithm that both have. `why` says where decisions differ, and `change` what is changed in the package."""

    package: str
    draw: Callable[[random.Random], Case]
    ours: Callable[[Case], Any]
    why: str = ""
    change: str = ""


def answer_of(
    strategy: Strategy, engine: Engine, verifier: Verifier | None = None
) -> str | None:
    """The answer of a whole run."""
    solution = solve_sync(QUESTION, strategy, engine, verifier=verifier)
    assert solution.error is None, solution.error
    return solution.answer.key if solution.answer else None


def says(case: Case) -> ScriptedEngine:
    """Replies with the answers of a case, each in words of its own."""
    return ScriptedEngine(
        lambda request: f"Reply {request.index}: {case['answers'][request.index]}"
    )


def draw_answers(source: random.Random) -> Case:
    kinds, n = source.randint(1, 6), source.randint(1, 16)
    return {"answers": [str(source.randint(1, kinds)) for _ in range(n)]}


def vote(case: Case) -> Any:
    return answer_of(SelfConsistency(len(case["answers"])), says(case))


def draw_votes(source: random.Random) -> Case:
    """The votes of the leader and of the runner-up."""
    return {
        "votes": sorted((source.randint(0, 64), source.randint(0, 64)), reverse=True)
    }


def draw_rated(source: random.Random) -> Case:
    """Ratings; many are equal."""
    case = draw_answers(source)
    return case | {"ratings": [source.randint(0, 8) / 8 for _ in case["answers"]]}


def best_of_n(case: Case) -> Any:
    rater = Rater(
        lambda candidate: float(case["ratings"][int(candidate.text.split()[1][:-1])])
    )
    return answer_of(BestOfN(len(case["answers"])), says(case), rater)


def draw_beam(source: random.Random) -> Case:
    width, children = source.choice([(2, 2), (2, 4), (4, 4), (2, 8), (3, 4)])
    return {
        "seed": source.getrandbits(32),
        "width": width,
        "children": children,
        "depth": source.randint(2, 5),
    }


def beam_search(case: Case) -> Any:
    levels: list[Counter[str]] = [Counter() for _ in range(case["depth"])]
    ended: dict[str, str] = {}

    def step(request: SampleRequest) -> str:
        index = request.index
        path = request.prompt.text.split()
        levels[len(path)]["/".join(path)] += 1
        if len(path) < case["depth"] - 1:
            return f"{index}\n\nmore"
        number = str(10_000 + len(ended))
        ended[number] = "/".join([*path, str(index)])
        return number

    def rate(text: str) -> float:
        *path, last = text.split()
        whole = ended.get(last, "/".join([*path, last]))
        return zlib.crc32(f"{case['seed']}/{whole}".encode()) / 2**32

    n = case["width"] * case["children"]
    strategy = BeamSearch(
        n, width=case["children"], max_steps=case["depth"], selector="argmax"
    )
    best = answer_of(
        strategy, ScriptedEngine(step), Rater(lambda candidate: rate(candidate.chain))
    )
    return {
        "survivors": [sorted(level.items()) for level in levels[1:]],
        "best": ended[str(best)],
    }


def draw_particles(source: random.Random) -> Case:
    """Ratings; one in twenty is 0 or 1."""
    n = source.randint(2, 32)
    ratings = [
        source.choice([0.0, 1.0]) if source.random() < 0.05 else source.random()
        for _ in range(n)
    ]
    return {"ratings": ratings, "u": source.random()}


def resampling(case: Case) -> Any:
    return systematic(
        softmax([logit(rating) for rating in case["ratings"]]),
        case["u"],
        len(case["ratings"]),
    )


def draw_ratings(source: random.Random) -> Case:
    return {"ratings": [source.random() for _ in range(source.randint(0, 64))]}


def posterior(case: Case) -> Any:
    arm = TreeArm()
    for rating in case["ratings"]:
        arm.add(rating)
    return arm.posterior()


def draw_tree(source: random.Random) -> Case:
    return {
        "id": f"{source.getrandbits(32)}",
        "ratings": [source.random() for _ in range(32)],
        "batch": source.choice([1, 4]),
    }


def tree(case: Case) -> Any:
    grown, parents = AnswerTree(case["id"]), list[int]()
    for first in range(0, len(case["ratings"]), case["batch"]):
        numbers = range(first, first + case["batch"])
        parents += [grown.ask(number).number for number in numbers]
        for number in numbers:
            grown.report(number, case["ratings"][number], completion())
    return parents


def draw_chances(source: random.Random, candidates: int, spellings: int) -> Case:
    """For each candidate, the probabilities of letters in one spelling or in all four."""
    chances = []
    for _ in range(candidates):
        words = [
            form
            for letter in LETTERS
            for form in (letter, f" {letter}", letter.lower(), f" {letter.lower()}")
        ]
        words = words[:: 4 // spellings]
        # A few letters have nearly all of the probability, as with a model.
        weights = [math.exp(source.gauss(0, 3)) for _ in words]
        chances.append(
            {
                word: weight / sum(weights)
                for word, weight in zip(words, weights, strict=True)
            }
        )
    return {"chances": chances, "seed": source.getrandbits(32)}


@dataclass(slots=True)
class Opinion(ScriptedEngine):
    """An engine that says candidates, and what it thinks of each where it is asked as a judge."""

    chances: list[dict[str, float]] = field(default_factory=list)

    def _logprobs(self, request: SampleRequest, ids: TokenIds) -> Logprobs | None:
        if not request.watch:
            return ScriptedEngine._logprobs(self, request, ids)
        shown = request.prompt.messages[-1].content.partition("candidate ")[2]
        chances = self.chances[int(shown.split()[0])]
        known = [chances.get(self._words[token], 0.0) for token in request.watch]
        row = tuple(math.log(chance) if chance else NO_LOGPROB for chance in known)
        return Logprobs((0.0,) * len(ids), watched=(row,) * len(ids))


def opinion(case: Case) -> Opinion:
    def script(request: SampleRequest) -> str:
        return "A" if request.watch else f"candidate {request.index}"

    return Opinion(script, chances=case["chances"])


def expected_score(case: Case) -> Any:
    judge, engine = Judge("scale"), opinion(case)

    async def rated() -> list[float | None]:
        await judge.start(engine)
        shown = [
            completion(f"candidate {index}") for index in range(len(case["chances"]))
        ]
        return [
            (await judge.score(QUESTION, each, engine, CostMeter(Cost()))).value
            for each in shown
        ]

    return asyncio.run(rated())


def best_of_4(case: Case) -> Any:
    return int(answer_of(BestOfN(4), opinion(case), Judge("scale")) or -1)


COMPARISONS = {
    "vote": Comparison(
        "its_hub",
        draw_answers,
        vote,
        "ties, which it breaks at random",
        "the first of equals",
    ),
    "stop probability": Comparison(
        "its_hub", draw_votes, lambda case: beta_lead(*case["votes"])
    ),
    "best of n": Comparison("its_hub", draw_rated, best_of_n),
    "beam search": Comparison("its_hub", draw_beam, beam_search),
    "resampling": Comparison("its_hub", draw_particles, resampling),
    "AB-MCTS-A, posterior": Comparison("treequest", draw_ratings, posterior),
    "AB-MCTS-A, tree": Comparison("treequest", draw_tree, tree),
    "expected score, one spelling": Comparison(
        "llm-verifier", lambda source: draw_chances(source, 2, 1), expected_score
    ),
    "expected score, four spellings": Comparison(
        "llm-verifier",
        lambda source: draw_chances(source, 2, 4),
        expected_score,
        "it takes the likeliest spelling of a letter, not the sum",
        "the sum",
    ),
    "best of 4": Comparison(
        "llm-verifier",
        lambda source: draw_chances(source, 4, 1),
        best_of_4,
        "a tournament, in which a mean depends on whom a candidate meets",
        "every pair meets once",
    ),
}


def same(a: Any, b: Any) -> bool:
    """Whether two decisions are equal, numbers up to rounding."""
    if isinstance(a, float) or isinstance(b, float):
        return (
            a is not None
            and b is not None
            and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
        )
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def theirs(cases: dict[str, list[Case]]) -> dict[str, dict[str, list[Any]]]:
    """The decisions of the packages, in an environment that exists only for this."""
    uv = str(Path(sys.executable).with_name("uv"))
    with tempfile.TemporaryDirectory() as folder:
        python = f"{folder}/bin/python"
        subprocess.run(
            [uv, "venv", "--quiet", "--python", sys.executable, folder], check=True
        )
        install = [
            uv,
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--python",
            python,
            "-r",
            f"{HERE}/requirements.txt",
        ]
        subprocess.run(install, check=True)
        run = [python, str(HERE / "theirs.py")]
        replied = subprocess.run(
            run, input=json.dumps(cases).encode(), stdout=subprocess.PIPE, check=True
        ).stdout
    decided: dict[str, dict[str, list[Any]]] = json.loads(replied)
    return decided


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1000, help="of each algorithm")
    parser.add_argument(
        "algorithms", nargs="*", metavar="ALGORITHM", help=", ".join(COMPARISONS)
    )
    given = parser.parse_args()
    names = given.algorithms or list(COMPARISONS)
    cases = {
        name: [
            COMPARISONS[name].draw(random.Random(seed)) for seed in range(given.cases)
        ]
        for name in names
    }
    decided = theirs(cases)
    print("| package | algorithm | cases | equal | why not | equal after a change |")
    print("|---|---|---|---|---|---|")
    for name in names:
        package, _, ours, why, change = COMPARISONS[name]
        # As JSON has them: no tuples.
        mine = json.loads(json.dumps([ours(case) for case in cases[name]]))
        equal = {
            version: sum(map(same, mine, values))
            for version, values in decided[name].items()
        }
        changed = f"{equal['changed']:,}: {change}" if change else ""
        reason = why if equal["published"] < given.cases else ""
        print(
            f"| {package} | {name} | {given.cases:,} | {equal['published']:,} | {reason} | {changed} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
