"""Data that is bad, hostile, elsewhere or not there: what is said of it, by file, line and column."""

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner_evals.tasks import data
from tests.evals.tasks.samples import ARC, GPQA, GSM8K, ROWS, jsonl, spec


def complaint(line: str) -> str:
    with pytest.raises(UsageError) as error:
        build("task", line).load()
    told = str(error.value)
    assert len(told.splitlines()) == 1
    assert len(told) < 600
    return told


GOOD = json.dumps(GSM8K[0])
BAD = [
    (
        '{"question": "q", "solution": "1"}',
        "t.jsonl:2 has no column 'answer': it has question, solution; name it with --columns answer:solution",
    ),
    (
        '{"question": "q", "answer": "It is 5 or 6."}',
        "t.jsonl:2, column 'answer': it does not end in `#### NUMBER`",
    ),
    (
        '{"question": ["q"], "answer": "1"}',
        "t.jsonl:2, column 'question': a list is not text",
    ),
    (
        '{"question": "\\ud800", "answer": "1"}',
        "t.jsonl:2, column 'question': it is not valid text",
    ),
    (
        '{"answer": ' + "9" * 5000 + "}",
        "t.jsonl:2 is not JSON: a number is too long",
    ),
]


@pytest.mark.parametrize(
    ("line", "told"), BAD, ids=[f"{told[8:40]}" for _, told in BAD]
)
def test_a_bad_row_is_reported_with_its_file_line_and_column(
    line: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text(f"{GOOD}\n{line}\n")
    assert complaint(f"gsm8k:path={tmp_path}/t.jsonl").startswith(told)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.jsonl", b"", "t.jsonl has no rows"),
        (
            "t.json",
            b'{"question": 1}',
            "t.json is not a list: write a list of objects, or one object per line in a .jsonl",
        ),
        ("t.json", b'[{"question": "q"}]', "t.json, item 1 has no column 'answer'"),
        (
            "t.csv",
            b"question,answer\nq,1,2\n",
            "t.csv:2 has more fields than the header has columns: quote commas",
        ),
        ("t.jsonl.gz", b"no gzip", "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_in_a_line(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert told in complaint(f"gsm8k:path={tmp_path}/{name}")


def test_the_bounds_hold_for_what_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MAX_BYTES", 10_000)
    for name in ("bomb.jsonl.gz", "bomb.json.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b" " * 1_000_000))
        assert "is too large" in complaint(f"gsm8k:path={tmp_path}/{name}")
    monkeypatch.setattr(data, "MAX_ROWS", 2)
    jsonl(tmp_path / "t.jsonl", GSM8K)
    assert "has more than 2 rows" in complaint(f"gsm8k:path={tmp_path}/t.jsonl")


def loaded(line: str) -> list[tuple[str, str]]:
    return [
        (item.question.text, item.gold) for item in build("task", line).load().items
    ]


def test_columns_go_by_the_names_that_the_file_has(tmp_path: Path) -> None:
    rows = [{"prompt": row["question"], "target": row["answer"]} for row in GSM8K]
    file = jsonl(tmp_path / "t.jsonl", rows)
    line = f"gsm8k:path={file},columns=[question:prompt,answer:target]"
    assert loaded(line) == loaded(spec("gsm8k", tmp_path))
    assert "no column named 'prompt'" in complaint(
        f"gsm8k:path={file},columns=prompt:question"
    )
    assert "the column 'prompt' has no name: write question:NAME" in complaint(
        f"gsm8k:path={file},columns=prompt"
    )
    assert "t.jsonl:1 has no column 'gone'" in complaint(
        f"gsm8k:path={file},columns=[question:gone,answer:target]"
    )


def test_a_question_that_comes_twice_under_one_id_is_refused(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "t.jsonl", [ARC[0], ARC[0]])
    told = complaint(f"arc_easy:path={file}")
    assert (
        told == "t.jsonl:2 has the id 'arc_easy/own_1' of t.jsonl:1: ids must be unique"
    )


ODD: list[tuple[str, dict[str, Any], str]] = [
    (
        "arc_easy",
        {"answerKey": "F"},
        "column 'answerKey': 'F' is not one of the labels A, B, C, D, E",
    ),
    (
        "mmlu",
        {"answer": 4},
        "column 'answer': '4' is not an option: write 0 to 3, or a letter",
    ),
    ("math500", {"answer": "\\left("}, "column 'answer': "),
    (
        "jsonl",
        {"kind": "poem"},
        "column 'kind': 'poem' is not one of auto, number, math, choice, yes_no, text",
    ),
    (
        "jsonl",
        {"kind": "number", "answer": "soon"},
        "column 'answer': 'soon' cannot be read as an answer of kind number",
    ),
]


@pytest.mark.parametrize(("name", "changed", "told"), ODD)
def test_a_value_that_cannot_be_used_is_reported(
    name: str, changed: dict[str, Any], told: str, tmp_path: Path
) -> None:
    file = jsonl(tmp_path / "t.jsonl", [ROWS[name][0] | changed])
    answer = complaint(f"{name}:path={file}")
    assert answer.startswith("t.jsonl:1, ")
    assert told in answer


@pytest.mark.parametrize(
    "name", [name for name in ROWS if name not in ("hf", "jsonl", "pool")]
)
def test_where_the_hub_is_out_of_reach_it_says_what_to_do(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    told = complaint(
        f"{name}:allow_unsandboxed=true"
        if name in ("humaneval", "livecodebench", "mbpp")
        else name
    )
    assert f"and give it as {name}:path=FILE" in told


@pytest.mark.parametrize("name", sorted(ROWS.keys() - {"hf"}))
def test_the_file_of_every_task_is_its_path(name: str) -> None:
    assert re.search(
        r"there are: .*\bpath\b", complaint(f"{name}:data=questions.jsonl")
    )


def test_a_package_that_cannot_be_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whatever cannot be imported, None in `sys.modules` stands for it.
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    answer = complaint("gsm8k")
    assert "cannot be loaded at revision" in answer
    assert answer.endswith("give it as gsm8k:path=FILE")


def test_a_gated_set_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.exceptions import DatasetNotFoundError  # type: ignore[import-untyped]

    error = DatasetNotFoundError(
        "Dataset 'Idavidrein/gpqa' is a gated dataset on the Hub. You must be authenticated"
    )
    made = build("task", "gpqa_diamond")
    told = data._explain(made.published, error, made.published.alternative(made.name))
    assert told.startswith(
        "Idavidrein/gpqa is gated: accept its terms and log in with `hf auth login`, or fetch"
    )


def test_a_data_set_of_the_hub_is_read_as_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local folder stands for the hub: `datasets` reads both alike."""
    import datasets  # type: ignore[import-untyped]

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub").mkdir()
    jsonl(tmp_path / "hub" / "test.jsonl", GSM8K)
    published = data.Publication(str(tmp_path / "hub"), "test", "MIT")
    found = data.from_hub(published, {}, instead="")
    rows = list(found.rows)
    assert [row.values for row in rows] == GSM8K
    assert rows[1].location.endswith("hub, row 2")
    assert found.origin.endswith("hub test @ a local folder")


def test_a_subject_of_mmlu_is_kept_alone_under_the_same_ids(tmp_path: Path) -> None:
    line = spec("mmlu", tmp_path)
    [kept] = build("task", f"{line},subject=own_life").load().items
    assert kept == build("task", line).load().items[1]
    assert "has no questions" in complaint(f"{line},subject=none_such")


def test_gpqa_is_not_for_showing_and_its_options_are_shuffled_by_question_and_repeat(
    tmp_path: Path,
) -> None:
    line = spec("gpqa_diamond", tmp_path)
    first, again = build("task", line).load(), build("task", f"{line},repeat=0").load()
    assert not first.source.shareable
    assert first.items == again.items
    orders = {item.question.space.options for item in first.items}
    others = {
        item.question.space.options
        for item in build("task", f"{line},repeat=1").load().items
    }
    assert len(orders | others) > len(orders) > 1
    for item in first.items:
        assert (
            item.question.space.options["ABCD".index(item.gold)]
            == GPQA[0]["Correct Answer"]
        )
