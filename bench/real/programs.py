"""What choosing programs by tests gains: by those that a question shows, by those that the model writes, and by both.

    python bench/real/programs.py --task humaneval:path=FILE --recording FILE [--sizes 4 8 16]
    python bench/real/programs.py --task humaneval:path=FILE --recording FILE --model MODEL [--replies FILE]

Prints how many problems show tests that can be read, and how many of these the reference solutions pass; then, for one
sample, the vote by equal behaviour, best-of-n, `refine` and `ab_mcts` at each size: the share of right programs and
paired differences to one sample and to the vote of that size, with 95 % intervals over problems, and tokens a problem,
those of written tests among them. The vote runs all programs on the calls in the shown tests and takes the first one of
those that behave as most do; where there are no such calls, of those that are equal.

A recording of bench/real/record.py has the samples of each problem. Without a model, it is all that is measured: what
needs no other reply. With a model, written tests, `refine` and `ab_mcts` are measured too. Every sequence is generated
once: strategies that ask for the same one share it, and each is charged for it. --replies keeps them, so that an
interrupted measurement continues; the file holds replies for one model, task, seed and --max-tokens.
"""

import argparse
import ast
import asyncio
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from recorded import completion_of, percent, records

from reasoner import Completion, Question, solve_many
from reasoner.answers.equivalence import Equivalence
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.registry import build
from reasoner.sandbox.check import Sandbox
from reasoner.types import Answer
from reasoner_evals.stats.intervals import compare, interval
from reasoner_evals.tasks import GradedQuestion
from reasoner_verifiers.shown_tests import AskedFunction, asked_function, shown_tests

CHOOSING: Final = (("best_of_n:n={n}", "code:tests=shown"),)
"""What needs no reply but the samples themselves."""
WRITING: Final = (
    ("best_of_n:n={n},selector=consensus", "code:tests=written"),
    ("best_of_n:n={n},selector=consensus", "code:tests=[shown,written]"),
    ("refine:rounds={revisions}", "code:tests=shown"),
    ("ab_mcts:n={n}", "code:tests=shown"),
)
MARK: Final = "what it does:"
HARNESS: Final = """
print({mark!r})
for call in {calls!r}:
    try:
        print(repr(eval(call)))
    except Exception as error:
        print(type(error).__name__)
"""


class RememberingEngine:
    """An engine that generates each sequence once, and keeps it in a file."""

    def __init__(self, engine: Engine, file: Path | None) -> None:
        self._engine, self._file = engine, file
        self.known: dict[tuple[str, str, int], Completion] = {}
        if file and file.exists():
            with file.open("rb") as stream:
                while stream.peek(1):
                    self.known.update([pickle.load(stream)])

    def read(
        self, recording: Path, questions: Sequence[Question]
    ) -> dict[str, Completion]:
        """Take the samples of a recording as known; the greedy reply of each question that it has."""
        asked, greedy = (
            {question.id: question for question in questions},
            dict[str, Completion](),
        )
        for record in records(recording):
            if not (question := asked.get(record["question_id"])):
                continue
            completion = completion_of(record, question)
            if record["index"] < 0:
                greedy[question.id] = completion
            else:
                self.known[question.id, question.prompt.digest, completion.index] = (
                    completion
                )
        return greedy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def sample(self, request: SampleRequest) -> Completion:
        """The sequence, at once if it was generated before."""
        key = request.question_id, request.prompt.digest, request.index
        if key not in self.known:
            completion = await self._engine.sample(request)
            self.known[key] = completion
            if self._file:
                with self._file.open("ab") as stream:
                    pickle.dump((key, completion), stream)
            return completion
        completion = self.known[key]
        if request.progress:
            await request.progress.until(completion.usage.generated_tokens)
        request.meter.usage = completion.usage
        return completion

    def samples(self, question: Question, n: int) -> list[Completion]:
        """The first samples of a question."""
        return [
            self.known[question.id, question.prompt.digest, index] for index in range(n)
        ]


@dataclass
class Problem:
    """A problem with the calls in its shown tests, and for each program its verdict and what it does."""

    item: GradedQuestion
    asked: AskedFunction | None = field(init=False)
    tests: tuple[Any, ...] = field(init=False)
    verdicts: dict[str, bool] = field(default_factory=dict)
    behaviours: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        question = self.item.question
        self.asked = asked_function(question.text, getattr(question.space, "asked", ()))
        self.tests = shown_tests(question.text, self.asked)

    async def is_right(self, answer: Answer | None) -> bool:
        """Whether the benchmark's tests accept a program."""
        if answer is None:
            return False
        if answer.text not in self.verdicts:
            grade = await self.item.grader.grade(self.item, answer, Equivalence())
            self.verdicts[answer.text] = grade == "right"
        return self.verdicts[answer.text]

    async def behaviour(self, answer: Answer) -> str:
        """What a program does on the calls; the program itself where there are none."""
        if not self.asked or not self.tests:
            return answer.key
        nodes = [
            node
            for test in self.tests
            for node in ast.walk(ast.parse(test))
            if isinstance(node, ast.Call)
        ]
        calls = [
            ast.unparse(node)
            for node in nodes
            if ast.unparse(node.func) == self.asked.called
        ]
        harness = HARNESS.format(mark=MARK, calls=[*dict.fromkeys(calls)])
        ran = await Sandbox().run(f"{self.asked.preamble}{answer.text}\n{harness}")
        return ran.output.rpartition(MARK)[2] + ran.failure

    async def vote(self, samples: Sequence[Completion]) -> Answer | None:
        """The first program of those that behave as most do."""
        answers = [
            answer for each in samples if (answer := self.item.question.read(each))
        ]
        unseen = {
            answer.text: answer
            for answer in answers
            if answer.text not in self.behaviours
        }
        seen = await asyncio.gather(*map(self.behaviour, unseen.values()))
        self.behaviours.update(zip(unseen, seen, strict=True))
        counts = Counter(self.behaviours[answer.text] for answer in answers)
        return max(
            answers,
            key=lambda answer: counts[self.behaviours[answer.text]],
            default=None,
        )


@dataclass
class Row:
    """One line of the table: the share of right programs of each problem, and its tokens."""

    name: str
    size: int
    right: Any
    tokens: Any
    verifier_tokens: float = 0.0


def tokens_of(samples: Sequence[Completion]) -> int:
    """What was computed for these samples."""
    return sum(
        each.usage.prompt_tokens
        - each.usage.cached_tokens
        + each.usage.generated_tokens
        for each in samples
    )


async def references_pass(problems: Sequence[Problem]) -> None:
    """Print how many problems show tests, and how many of these the reference solutions pass."""
    passed, wrong = 0, []
    for problem in problems:
        if problem.asked and problem.tests:
            code = problem.asked.preamble + problem.item.gold
            verdict = await Sandbox().check(
                code, problem.tests, entry_point=problem.asked.name
            )
            passed += verdict.passed
            wrong += [problem.item.question.id] * (verdict.status != "pass")
    total, shown = (
        sum(len(problem.tests) for problem in problems),
        sum(bool(problem.tests) for problem in problems),
    )
    print(
        f"{shown} of {len(problems)} problems show tests; references pass {passed} of {total}, but for {wrong}\n"
    )


async def measure(options: argparse.Namespace) -> None:
    """Ask, grade and print."""
    items = build("task", options.task).load().items
    if options.model:
        asked: Engine = VllmEngine(
            model_id=options.model,
            max_model_len=options.max_model_len,
            kv_gib=options.kv_gib,
        )
    else:
        asked = build("engine", "simulated")
    engine, rows = RememberingEngine(asked, options.replies), list[Row]()
    first = engine.read(options.recording, [item.question for item in items])
    problems = [Problem(item) for item in items if item.question.id in first][
        : options.limit
    ]
    questions = [problem.item.question for problem in problems]
    await references_pass([Problem(item) for item in items])

    sizes = sorted(options.sizes, reverse=True)
    for size in sizes:
        voted = [engine.samples(question, size) for question in questions]
        right = [
            await problem.is_right(await problem.vote(samples))
            for problem, samples in zip(problems, voted, strict=True)
        ]
        tokens = np.array([tokens_of(samples) for samples in voted])
        rows.append(
            Row(f"vote of {size} by behaviour", size, np.array(right, float), tokens)
        )
        for strategy, verifier in (*CHOOSING, *(WRITING if options.model else ())):
            named = strategy.format(n=size, revisions=size - 1)
            solutions = await solve_many(
                questions,
                f"{named},temperature={options.temperature},max_tokens={options.max_tokens}",
                engine,
                verifier=verifier,
                seed=options.seed,
            )
            right = [
                await problem.is_right(solution.answer)
                for problem, solution in zip(problems, solutions, strict=True)
            ]
            rows.append(
                Row(
                    f"`{named}`, `{verifier}`",
                    size,
                    np.array(right, float),
                    np.array([solution.cost.tokens for solution in solutions]),
                    float(
                        np.mean(
                            [solution.cost.verifier_tokens for solution in solutions]
                        )
                    ),
                )
            )
    await asked.close()

    drawn = [engine.samples(question, sizes[0]) for question in questions]
    grades = [
        [await problem.is_right(problem.item.question.read(each)) for each in samples]
        for problem, samples in zip(problems, drawn, strict=True)
    ]
    share, solvable = np.mean(grades, axis=1), np.any(grades, axis=1).mean()
    single = Row(
        "one sample", 1, share, np.array([tokens_of(samples[:1]) for samples in drawn])
    )
    greedy = Row(
        "greedy",
        1,
        np.array(
            [
                await problem.is_right(
                    problem.item.question.read(first[problem.item.question.id])
                )
                for problem in problems
            ],
            float,
        ),
        np.array([tokens_of([first[question.id]]) for question in questions]),
    )
    print(
        "| | right, % | against greedy, points | against one sample | against the vote | tokens | of written tests |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in (greedy, single, *sorted(rows, key=lambda row: row.size)):
        vote = next(
            (
                each
                for each in rows
                if each.size == row.size and each.name.startswith("vote")
            ),
            row,
        )
        cells = [
            row.name,
            percent(interval(row.right)),
            ""
            if row is greedy
            else percent(compare(row.right, greedy.right).difference, sign="+"),
            ""
            if row in (greedy, single)
            else percent(compare(row.right, single.right).difference, sign="+"),
            ""
            if vote is row
            else percent(compare(row.right, vote.right).difference, sign="+"),
            f"{row.tokens.mean():,.0f}",
            f"{row.verifier_tokens:,.0f}",
        ]
        print(f"| {' | '.join(cells)} |")
    print(
        f"\nA right program is among {sizes[0]} samples of {100 * solvable:.1f} % of the problems."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--recording", required=True, type=Path, help="what bench/real/record.py wrote"
    )
    parser.add_argument(
        "--model", help="a folder or an id: measure what needs more replies, too"
    )
    parser.add_argument("--task", default="humaneval", help="as humaneval:path=FILE")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument(
        "--temperature", type=float, default=0.7, help="of the recorded samples"
    )
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--max-model-len", type=int, default=4096)
    parser.add_argument("--kv-gib", type=float, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replies", type=Path, help="keeps all sequences")
    asyncio.run(measure(parser.parse_args()))
