"""What stands around the questions: worked examples, instructions, and their names and hashes."""

import json
from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.types import Completion, Prompt
from reasoner_evals.tasks.benchmark import Shot, Template
from tests.evals.tasks.samples import HUMANEVAL, SQUAD, jsonl, spec

DATA = Path(__file__).parents[4] / "shared" / "data"
MAX_EXAMPLES = {"arc_challenge": 3, "arc_easy": 3, "gsm8k": 4, "math500": 3}


@pytest.mark.parametrize(("name", "maximum"), MAX_EXAMPLES.items())
def test_examples_are_earlier_turns_that_read_as_replies_should(name: str, maximum: int, tmp_path: Path) -> None:
    line = spec(name, tmp_path)
    plain, shown = build("task", line).load(), build("task", f"{line},shots={maximum}").load()
    assert shown.source.data_hash == plain.source.data_hash
    assert shown.source.prompt_hash != plain.source.prompt_hash
    item = shown.items[0]
    messages = item.question.prompt.messages
    assert [message.role for message in messages] == ["user", "assistant"] * maximum + ["user"]
    assert messages[-1] == plain.items[0].question.prompt.messages[-1]
    for reply in messages[1:-1:2]:
        read = item.question.space.read(reply.content)
        assert read is not None
        assert read.rule in ("form", "announced")
    with pytest.raises(UsageError, match=f"shots of {name} must be from 0 to {maximum}"):
        build("task", f"{line},shots={maximum + 1}").load()


def test_all_that_a_template_says_is_in_its_hash() -> None:
    spaces = [item.question.space for item in build("task", "arithmetic").load().items]
    made = [
        Template("t", 1),
        Template("t", 1, "Think. {kind}"),
        Template("t", 1, shots=(Shot("a", "b"),)),
        Template("t", 1, shots=(Shot("a", "c"),)),
    ]
    assert len({template.hash(spaces) for template in made}) == len(made)
    assert Template("t", 1).hash(spaces) == Template("u", 2).hash(spaces[:1])
    assert str(Template("t", 3)) == "t@3"


def test_questions_of_one_passage_begin_alike_and_are_a_group(tmp_path: Path) -> None:
    first, second = build("task", spec("squad", tmp_path)).load().items
    for item in (first, second):
        assert item.question.prompt.messages[-1].content.startswith(SQUAD[0]["context"])
    assert first.group == second.group != ""


def test_tests_and_aliases_are_part_of_what_the_data_are(tmp_path: Path) -> None:
    changed = [
        ("humaneval", HUMANEVAL[0] | {"test": HUMANEVAL[0]["test"] + "    assert candidate([3]) == [3, 3]\n"}),
        ("squad", SQUAD[0] | {"answers": {"text": ["a drink", "tea"]}}),
    ]
    for name, row in changed:
        rows = {"humaneval": HUMANEVAL[0], "squad": SQUAD[0]}
        unsandboxed = ",allow_unsandboxed=true" if name == "humaneval" else ""
        hashes = {
            build("task", f"{name}:data={jsonl(tmp_path / 't.jsonl', [one])}{unsandboxed}").load().source.data_hash
            for one in (rows[name], row)
        }
        assert len(hashes) == 2


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
