"""Graders of published benchmarks: each verdict is that of the benchmark's own grader, but where a row says otherwise."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoner.answers.equivalence import Equivalence
from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.sandbox.layers import detect
from reasoner.types import Answer
from reasoner_evals.tasks.benchmarks import Hmmt, OlympiadBench
from reasoner_evals.tasks.data import DataRow
from reasoner_evals.tasks.graders import GradedQuestion
from reasoner_evals.tasks.livecodebench import CaseGrader, LiveCodeBench
from tests.evals.tasks.samples import LIVECODEBENCH, MMLU_PRO, OWN, jsonl, spec


def status(item: GradedQuestion, answer: Answer | None) -> str:
    async def graded() -> str:
        equivalence = Equivalence()
        try:
            return (
                await item.grader.grade(item, answer, equivalence)
                if answer
                else "no_answer"
            )
        finally:
            await equivalence.close()

    return asyncio.run(graded())


SUM = "a, b = map(int, input().split())\n"
PROGRAMS = [
    ("print(sum(map(int, input().split())))", "right"),
    (
        "import sys\nfor line in sys.stdin:\n    print(sum(int(x) for x in line.split()))",
        "right",
    ),
    ("print(reduce(add, map(int, input().split())))", "right"),
    ("if __name__ == '__main__':\n    print(sum(map(int, input().split())))", "right"),
    ("print('3')", "wrong"),
    (f"{SUM}print(a + b)\nraise ValueError", "wrong"),
    ("while True: pass", "wrong"),
]
PLUS = "class Solution:\n    def plus(self, xs: List[int], n):\n        "
CALLS = [
    (f"{PLUS}return [x + n for x in xs]", "right"),
    (f"{PLUS}return tuple(x + n for x in xs)", "right"),
    ("def plus(xs, n):\n    return [x + n for x in xs]", "right"),
    (f"{PLUS}return {{x + n for x in xs}}", "wrong"),
    (f"{PLUS.replace('plus', 'other')}return [x + n for x in xs]", "wrong"),
    (
        f"{PLUS}self.xs = getattr(self, 'xs', []) + xs\n        return [x + n for x in self.xs]",
        "wrong",
    ),
]


@pytest.mark.process
@pytest.mark.skipif(
    bool(detect().missing), reason=f"the sandbox lacks its minimum: {detect().missing}"
)
@pytest.mark.parametrize(
    ("row", "code", "verdict"),
    [(0, *case) for case in PROGRAMS] + [(1, *case) for case in CALLS],
)
def test_a_program_is_judged_by_its_output_and_a_function_by_its_values(
    row: int, code: str, verdict: str
) -> None:
    item = LiveCodeBench(seconds=1.0).item(DataRow("own", row, LIVECODEBENCH[row]))
    assert item is not None
    assert (
        status(item, item.question.space.read(f"So:\n```python\n{code}\n```"))
        == verdict
    )


def test_hidden_tests_are_read_without_unpickling_and_what_is_no_test_gives_no_grade(
    tmp_path: Path,
) -> None:
    import base64
    import pickle
    import zlib

    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "attacked",)

    for content in (
        pickle.dumps(Attack()),
        pickle.dumps("[1]"),
        b"",
        pickle.dumps('[{"input": 1}]'),
    ):
        grader = CaseGrader("[]", base64.b64encode(zlib.compress(content)).decode())
        item = replace(
            build("task", spec("arithmetic", tmp_path)).load().items[0], grader=grader
        )
        assert status(item, Answer("print(1)", "")) == "grader_crash"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    bool(detect().missing), reason=f"the sandbox lacks its minimum: {detect().missing}"
)
def test_contests_are_kept_by_their_dates(tmp_path: Path) -> None:
    line = spec("livecodebench", tmp_path)

    def ids(options: str) -> list[str]:
        return [item.question.id for item in build("task", line + options).load().items]

    assert ids(",since=2024-08-03,before=2025-01-04") == ["livecodebench/own_a"]
    assert ids(",since=2025-01-01") == ["livecodebench/1"]
    with pytest.raises(UsageError, match="since must be a day, as in since=2024-08-01"):
        ids(",since=august")


JUDGED = [
    ("$2$", "2.0", "", "right"),
    (r"$\frac{1}{2}$", r"\frac{2}{4}", "", "right"),
    ("$x=1$", "1", "", "right"),
    ("$x=1$", "x=2", "", "wrong"),
    ("$2,-2$", "-2, 2", "", "right"),
    ("$2,-2$", r"\pm 2", "", "right"),
    ("$2,-2$", "2", "", "wrong"),
    ("$(2,1),(3,1)$", "(3,1),(2,1)", "", "right"),
    (r"$(-\infty,1]$", r"(-\infty,1)", "", "wrong"),
    ("$2n+1$", "1+2n", "", "right"),
    (r"$\sqrt{12}$", r"2\sqrt{3}", "", "right"),
    ("$x^2+y^2=1$", "x^2=1-y^2", "", "right"),
    (r"$7.8 \times 10^{2}$", "780", "", "right"),
    ("3.1", "3.18", "0.1", "right"),
    ("3.1", "3.2", "0.1", "right"),
    ("3.1", "3.3", "0.1", "wrong"),
    # The published judge takes these two for right, and this list for another answer than the set.
    ("0.6", "60%", "", "wrong"),
    (r"$\frac{\sqrt{5}-1}{2}$", "0.6180339887", "", "wrong"),
    (r"$\{1,2\}$", "1,2", "", "right"),
]


@pytest.mark.process
def test_formulas_and_numbers_are_judged_as_published() -> None:
    async def verdicts() -> list[str]:
        equivalence, found = Equivalence(), list[str]()
        for gold, said, error, _ in JUDGED:
            row = {"question": "q", "final_answer": [gold], "error": error or None}
            item = OlympiadBench().item(DataRow("own", 0, row))
            assert item is not None
            answer = item.question.space.read(rf"\boxed{{{said}}}")
            assert answer is not None
            found.append(await item.grader.grade(item, answer, equivalence))
        await equivalence.close()
        return found

    assert asyncio.run(verdicts()) == [verdict for *_, verdict in JUDGED]


CONTEST = [
    (r"\frac{1}{576}", "1/576"),
    (r"\sqrt{23}-2\sqrt{3}", r"-2\sqrt{3}+\sqrt{23}"),
    (r"1-\frac{2}{\pi}", r"\frac{\pi-2}{\pi}"),
    ("103", "103.0"),
    ("103", "130"),
    (r"9\sqrt{23}", r"9\sqrt{22}"),
    (r"3^{12}", "531441"),
    ("(1,2)", "(2,1)"),
    (r"-\frac{1}{2}\pm\frac{\sqrt3}{2}", r"\frac{-1-\sqrt3}{2},\frac{-1+\sqrt3}{2}"),
    (r"\frac{448}{3}", r"149\frac{1}{3}"),
    (r"\ln 2", r"-\ln\frac12"),
    ("1037", "1{,}037"),
    ("0.25", r"\frac14"),
]


@pytest.mark.process
@pytest.mark.parametrize(("gold", "said"), CONTEST)
def test_a_contest_is_judged_as_by_math_verify(gold: str, said: str) -> None:
    from math_verify import parse, verify  # type: ignore[import-untyped]

    item = Hmmt().item(DataRow("own", 0, {"problem": "q", "answer": gold}, Hmmt.named))
    assert item is not None
    verdict = status(item, item.question.space.read(rf"\boxed{{{said}}}"))
    assert (verdict == "right") == verify(
        parse(f"${gold}$"), parse(rf"\boxed{{{said}}}")
    )


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("The answer is (B).", "B"),
        ("So the answer is B", "B"),
        ("answer is (J).", "J"),
        ("Answer: B", "B"),
        ("**Answer: B**", "B"),
        ("\\boxed{B}", "B"),
        ("Therefore, the correct option is B.", "B"),
        ("B", "B"),
        ("The answer is (B) 4", "B"),
        ("Let us see. Options A and B are close.\n\nThe answer is (B).", "B"),
        ("The answer is K.", None),
        # The scripts of MMLU-Pro and SuperGPQA read A and I here.
        ("The answer is A. No, wait: the answer is (B).", "B"),
        ("I do not know.", None),
    ],
)
def test_a_letter_of_ten_is_read_as_by_the_published_scripts(
    reply: str, letter: str | None, tmp_path: Path
) -> None:
    item = build("task", spec("mmlu_pro", tmp_path)).load().items[0]
    space = replace(item.question.space, options=tuple("3456789012"))
    answer = space.read(reply)
    assert (answer and answer.key) == letter


def test_proofs_and_problems_with_pictures_are_left_out() -> None:
    row = {"question": "q", "final_answer": ["1"]}
    assert OlympiadBench().item(DataRow("own", 0, row | {"image_1": b"png"})) is None
    assert OlympiadBench().item(DataRow("own", 0, row | {"final_answer": None})) is None


def test_any_columns_of_a_data_set_make_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub").mkdir()
    solved = [
        {"problem": "What is 6 x 7?", "solution": "6 x 7 = 42, so \\boxed{42}."},
        {"problem": "What is half of 5?", "solution": "It is $\\boxed{\\frac52}$."},
    ]
    jsonl(tmp_path / "hub" / "train.jsonl", solved)
    line = f"hf:{tmp_path / 'hub'},split=train,columns=[question:problem,answer:solution],kind=math"
    data = build("task", line).load()
    assert [item.gold for item in data.items] == ["42", "\\frac52"]
    assert [item.question.id for item in data.items] == ["hub/0", "hub/1"]
    assert len(build("task", line.replace("=train", '="train[:1]"')).load().items) == 1
    for changed, told in (
        (
            line.replace("=train", "=test"),
            "cannot be loaded at revision main (Unknown split",
        ),
        (
            f"hf:{tmp_path / 'hub'},split=train,columns=question:problem",
            "say which it is with `--columns question:problem,answer:solution`",
        ),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            build("task", changed).load()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        UsageError,
        match=r"hub cannot be reached for own/set .*: save it as a file, and give it as jsonl:FILE",
    ):
        build("task", "hf:own/set").load()


@pytest.mark.parametrize(
    ("choices", "answer", "gold"),
    [
        (["3", "4"], "4", "B"),
        (["a", "b", "c"], 2, "C"),
        (
            ["1", "2", "0"],
            1,
            "neither a letter from A to C nor exactly one of the choices or an index",
        ),
        (
            ["a", "a"],
            "a",
            "neither a letter from A to B nor exactly one of the choices or an index",
        ),
    ],
)
def test_a_choice_is_a_letter_an_option_or_an_index(
    choices: Any, answer: Any, gold: str, tmp_path: Path
) -> None:
    task = build(
        "task",
        f"jsonl:{jsonl(tmp_path / 't.jsonl', [OWN[1] | {'choices': choices, 'answer': answer}])}",
    )
    if len(gold) == 1:
        assert task.load().items[0].gold == gold
    else:
        with pytest.raises(UsageError, match=gold):
            task.load()


def test_options_and_letters_of_ten_choices_are_those_of_the_row(
    tmp_path: Path,
) -> None:
    first = build("task", spec("mmlu_pro", tmp_path)).load().items[0]
    assert first.question.space.options == tuple(MMLU_PRO[0]["options"])
    assert first.gold == "B"
    [kept] = build("task", f"{spec('mmlu_pro', tmp_path)},subject=life").load().items
    assert kept.question.id == "mmlu_pro/1"


def test_few_shot_questions_of_bbh_follow_the_published_examples(
    tmp_path: Path,
) -> None:
    (tmp_path / "snarks.txt").write_text(
        "BENCHMARK DATA ... canary GUID 1\n-----\nFind sarcasm.\n\nQ: a\nA: b", "utf-8"
    )
    task = build(
        "task", spec("bbh", tmp_path) + f",task=snarks,shots={tmp_path}"
    ).load()
    [item] = task.items
    assert item.question.prompt.messages[-1].content == (
        "Find sarcasm.\n\nQ: a\nA: b\n\n"
        "Q: Which is sarcastic?\nOptions:\n(A) Rain again, lovely\n(B) Rain again\nA: Let's think step by step."
    )
    assert (item.gold, item.group, item.subtask, task.source.prompt) == (
        "A",
        "",
        "snarks",
        "bbh-published-shots@1",
    )
