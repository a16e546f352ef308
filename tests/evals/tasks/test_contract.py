"""What every task promises, over a small self-written file in its benchmark's own format."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.code import CodeSpace
from reasoner.answers.equivalence import Equivalence
from reasoner.answers.numbers import NumberSpace
from reasoner.answers.texts import TextSpace, YesNoSpace
from reasoner.answers.whole import FreeSpace
from reasoner.errors import UsageError
from reasoner.registry import build, entries, spec_of
from reasoner.sandbox.layers import detect
from reasoner.testing import check_task
from reasoner.testing.support import completion
from reasoner_evals.tasks.arithmetic import Arithmetic
from reasoner_evals.tasks.bbh import BracketSpace
from reasoner_evals.tasks.benchmark import TaskData, Template, checked_data, document_of
from reasoner_evals.tasks.graders import GradedQuestion
from tests.evals.tasks.samples import spec
from tests.labelling import grade

NAMES = sorted(entries("task"))


@pytest.fixture(scope="module")
def equivalence() -> Iterator[Equivalence]:
    made = Equivalence()
    yield made
    asyncio.run(made.close())


@pytest.fixture(params=NAMES)
def name(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    if request.param in ("humaneval", "livecodebench", "mbpp") and detect().missing:
        pytest.skip(f"the sandbox lacks its minimum here: {detect().missing}")
    if request.param == "hf":
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return str(request.param)


@pytest.fixture
def data(name: str, tmp_path: Path) -> TaskData:
    task = build("task", spec(name, tmp_path))
    return checked_data(task, task.load())


def said(item: GradedQuestion, answer: str) -> str:
    if isinstance(item.question.space, CodeSpace):
        return f"Here.\n\n```python\n{answer}\n```\n"
    if isinstance(
        item.question.space,
        ChoiceSpace | YesNoSpace | TextSpace | NumberSpace,
    ):
        return f"Let us see. The answer is {answer}"
    return rf"It is $\boxed{{{answer}}}$."


def wrong(item: GradedQuestion) -> str:
    space = item.question.space
    if isinstance(space, ChoiceSpace):
        return next(label for label in space.known if label != item.gold)
    if isinstance(space, YesNoSpace):
        return {"yes": "no", "no": "yes"}[item.gold.lower()]
    if isinstance(space, BracketSpace):
        return "}"
    if isinstance(space, CodeSpace):
        return "def twice(xs):\n    return xs\n\n\ndef add_one(x):\n    return x"
    return "7654321"


@pytest.mark.process
def test_it_keeps_the_laws(name: str, tmp_path: Path) -> None:
    check_task(
        build("task", spec(name, tmp_path)), say=lambda item: [said(item, item.gold)]
    )


@pytest.mark.process
def test_other_answers_are_wrong(data: TaskData, equivalence: Equivalence) -> None:
    async def statuses(item: GradedQuestion) -> list[str]:
        texts = (said(item, wrong(item)), "")
        return [await grade(item, completion(text), equivalence) for text in texts]

    async def every() -> list[list[str]]:
        return [
            await statuses(item)
            for item in data.items[:5]
            if item.gold and not isinstance(item.question.space, FreeSpace)
        ]

    found = asyncio.run(every())
    assert found == [["wrong", "no_answer"]] * len(found)


def test_its_answers_are_read_by_a_pattern_of_its_own_first(
    name: str, tmp_path: Path
) -> None:
    task = build("task", spec(name, tmp_path))
    if any(isinstance(item.question.space, FreeSpace) for item in task.load().items):
        return
    task = replace(task, answer_options=r"pattern=(?s)^Mine: (.*)\n---$")
    for item in task.load().items[:20]:
        answer = item.question.space.read(
            f"Mine: {item.gold or 'def f(): pass'}\n---\nThe answer is 9"
        )
        assert answer is not None
        assert answer.rule == "pattern"


def test_its_prompt_is_the_question_and_an_instruction_that_is_the_same_for_all(
    data: TaskData,
) -> None:
    added: dict[object, set[str]] = {}
    for item in data.items:
        last = item.question.prompt.messages[-1]
        document = document_of(item.question)
        assert last.role == "user"
        assert last.content.startswith(document)
        assert document.endswith(item.question.text)
        numbered = isinstance(item.question.space, ChoiceSpace)
        added.setdefault(id(item) if numbered else item.question.space.name, set()).add(
            last.content.removeprefix(document)
        )
    assert {len(texts) for texts in added.values()} == {1}


def test_it_says_what_it_is_so_that_it_can_be_built_again(
    name: str, data: TaskData, tmp_path: Path
) -> None:
    again = build("task", data.source.task)
    assert spec_of(again) == data.source.task
    assert again.load() == data
    assert data.source.prompt.rpartition("@")[2].isdigit()


@pytest.mark.process
def test_its_hashes_are_the_same_in_another_process(name: str, data: TaskData) -> None:
    if name in ("gpqa_diamond", "arithmetic"):
        code = (
            "import sys; from reasoner.registry import build; d = build('task', sys.argv[1]).load();"
            "print(d.source.model_dump_json()); print([i.gold for i in d.items])"
        )
        line = [sys.executable, "-W", "ignore", "-c", code, data.source.task]
        said = subprocess.run(
            line,
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": "7"},
        ).stdout
        source, golds = said.splitlines()[-2:]
        assert json.loads(source) == json.loads(data.source.model_dump_json())
        assert golds == str([item.gold for item in data.items])


def test_all_that_a_template_says_is_in_its_hash() -> None:
    spaces = [item.question.space for item in GOOD.items]
    made = [Template("t", 1), Template("t", 1, "Think. {kind}")]
    assert len({template.hash(spaces) for template in made}) == len(made)
    assert Template("t", 1).hash(spaces) == Template("u", 2).hash(spaces[:1])
    assert str(Template("t", 3)) == "t@3"


GOOD = Arithmetic().load()
FIRST = GOOD.items[0]


def asked(**changes: object) -> TaskData:
    return TaskData(
        (replace(FIRST, question=replace(FIRST.question, **changes)),),  # type: ignore[arg-type]
        GOOD.source,
    )


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (None, "it must return TaskData with a Source (got None)"),
        (
            TaskData((), GOOD.source),
            "it has no questions: choose data with at least one",
        ),
        (TaskData((1, 2), GOOD.source), "items must be a tuple of GradedQuestion"),  # type: ignore[arg-type]
        (TaskData((FIRST, FIRST), GOOD.source), "each question needs an id of its own"),
        (
            TaskData((replace(FIRST, gold="\ud800"),), GOOD.source),
            "text that is not valid Unicode",
        ),
        (
            TaskData((replace(FIRST, grader="x"),), GOOD.source),  # type: ignore[arg-type]
            "grader must be a Grader",
        ),
        (asked(id=""), "each question needs an id of its own (got ''"),
        (asked(space="number"), "space must be an AnswerSpace (got 'number')"),
    ],
)
def test_what_a_task_loads_is_checked(data: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(complaint)) as refused:
        checked_data(Arithmetic(), data)
    assert str(refused.value).startswith("load() of the task arithmetic: ")
