"""Prompt templates: their instructions, names and hashes."""

import json
from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.types import Completion, Prompt
from reasoner_evals.tasks.benchmark import Template
from tests.evals.tasks.samples import spec

DATA = Path(__file__).parents[4] / "shared" / "data"


def test_all_that_a_template_says_is_in_its_hash() -> None:
    spaces = [item.question.space for item in build("task", "arithmetic").load().items]
    made = [
        Template("t", 1),
        Template("t", 1, "Think. {kind}"),
    ]
    assert len({template.hash(spaces) for template in made}) == len(made)
    assert Template("t", 1).hash(spaces) == Template("u", 2).hash(spaces[:1])
    assert str(Template("t", 3)) == "t@3"


def test_a_subject_of_mmlu_is_kept_alone_under_the_same_ids(tmp_path: Path) -> None:
    line = spec("mmlu", tmp_path)
    [kept] = build("task", f"{line},subject=own_life").load().items
    assert kept == build("task", line).load().items[1]
    with pytest.raises(UsageError, match="has no questions"):
        build("task", f"{line},subject=none_such").load()


@pytest.mark.parametrize(
    ("name", "file", "count"), [("gsm8k", "gsm8k_train_300", 300), ("math500", "math500_dev", 200)]
)
def test_real_rows_are_read_whole(name: str, file: str, count: int) -> None:
    path = DATA / f"{file}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there: benchmarks are no part of the product")
    data = build("task", f"{name}:data={path}").load()
    assert data.source.items == count
    rationale = json.loads(path.read_text().splitlines()[0])["answer"]
    assert name == "math500" or all(rationale not in one.question.prompt.messages[-1].content for one in data.items)
    read = data.items[0].question.read(Completion(Prompt.chat("q"), rf"\boxed{{{data.items[0].gold}}}", (1,), "stop"))
    assert read is not None
