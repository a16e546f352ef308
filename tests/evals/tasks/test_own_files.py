"""A file of one's own as a task: its path, its columns, its answers, and the kind that they share."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner_evals.cli.setup import RunOptions
from reasoner_evals.tasks.benchmark import TaskData
from reasoner_evals.tasks.own_files import task_spec
from tests.evals.tasks.samples import Rows, jsonl

TYPO = "How load does it take to walk 6 miles at 2 miles an hour?"


def loaded(file: Path, options: str = "") -> TaskData:
    data = build("task", f"jsonl:path={file}{options}").load()
    assert isinstance(data, TaskData)
    return data


def complaint(file: Path, options: str = "") -> str:
    with pytest.raises(UsageError) as error:
        loaded(file, options)
    return str(error.value)


def kinds(file: Path, options: str = "") -> list[str]:
    return [item.question.space.name for item in loaded(file, options).items]


def test_the_kind_that_all_reference_answers_share_is_that_of_each_question(
    tmp_path: Path,
) -> None:
    file = jsonl(
        tmp_path / "q.jsonl",
        [
            {"question": TYPO, "answer": "3"},
            {"question": "What is 3 + 4?", "answer": 7},
        ],
    )
    assert kinds(file) == ["number", "number"]
    assert loaded(file).source.notes == (
        f"kind of answer: number, by 2 of 2 reference answers; jsonl:path={file},kind=KIND sets another",
    )
    assert kinds(file, ",kind=text") == ["text", "text"]
    assert loaded(file, ",kind=text").source.notes == ()


def test_where_they_do_not_agree_the_wording_decides_and_the_mix_is_told(
    tmp_path: Path,
) -> None:
    rows: Rows = [
        {"question": TYPO, "answer": "3"},
        {"question": "What is 3 + 4?", "answer": "7"},
        {"question": "Who?", "answer": "Ada Lovelace"},
    ]
    file = jsonl(tmp_path / "q.jsonl", rows)
    assert kinds(file) == ["text", "number", "text"]
    [note] = loaded(file).source.notes
    assert note.startswith(
        "kind of answer: guessed from the wording of each question, because the reference answers do not decide it "
        "(2 number, 1 text)"
    )
    # A row that names its kind is not asked.
    file = jsonl(tmp_path / "q.jsonl", [*rows[:2], rows[2] | {"kind": "text"}])
    assert kinds(file) == ["number", "number", "text"]


ROW = st.tuples(
    st.sampled_from(
        [
            TYPO,
            "What is 3 + 4?",
            "Who was it?",
            "Is it so, yes or no?",
            "Simplify $x^2$.",
        ]
    ),
    st.sampled_from(["7", "yes", "1,200", "\\frac12"]),
)


@given(rows=st.lists(ROW, min_size=1, max_size=5), order=st.randoms())
def test_a_question_does_not_depend_on_which_reference_answer_is_its_own(
    rows: list[tuple[str, str]], order: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    answers = [answer for _, answer in rows]
    order.shuffle(answers)
    folder = tmp_path_factory.mktemp("q")

    def questions(golds: list[str]) -> list[object] | None:
        named = [
            {"question": text, "answer": gold}
            for (text, _), gold in zip(rows, golds, strict=True)
        ]
        try:
            return [
                item.question for item in loaded(jsonl(folder / "q.jsonl", named)).items
            ]
        except (
            UsageError
        ):  # the kind that is guessed for a question may not fit an answer
            return None

    mine, others = questions([answer for _, answer in rows]), questions(answers)
    assert mine == others or None in (mine, others)


def test_a_path_is_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arithmetic").write_text("")
    for name in ("q.jsonl", "odd, name.csv", "notes", "a:b.csv"):
        (tmp_path / name).write_text("question,answer\n")
        for path in (name, str(tmp_path / name)):
            assert build("task", task_spec(path)).path == path
    for gone in ("gone.tsv", "gone.parquet", "folder/gone", "gone.csv.gz"):
        with pytest.raises(UsageError, match=f"{gone} does not exist"):
            build("task", task_spec(gone)).load()
    for spec in (
        "arithmetic",
        "hf:ORG/NAME",
        "pool:gone.jsonl",
        "jsonI:gone.csv",
        "arithmetik",
    ):
        assert task_spec(spec) == spec


NAMES = ["Frage nr.", "it's", "a, b", 'say "x"', "f(x)", "ünï$", "a:b", "[q]"]


@pytest.mark.parametrize("name", NAMES)
def test_the_columns_that_an_error_suggests_work_as_they_are(
    name: str, tmp_path: Path
) -> None:
    row = {name: "What is 3 + 4?", "Antwort": "7"}
    told = complaint(jsonl(tmp_path / "q.jsonl", [row]))
    assert "has no column 'question' and no column 'answer'" in told
    pasted = shlex.split(told.partition("with `")[2].rstrip("`"))
    pairs = RunOptions(columns=pasted[1]).column_pairs
    [item] = build("task", task_spec(str(tmp_path / "q.jsonl"), pairs)).load().items
    assert (item.question.text, item.gold) == ("What is 3 + 4?", "7")


def test_where_several_columns_may_be_meant_none_is_suggested(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "q.jsonl",
        [{"topic": "sums", "prompt": "What is 3 + 4?", "value": "7"}],
    )
    assert complaint(file).endswith(
        "say which they are with `--columns question:prompt,answer:NAME`"
    )
    # What was mapped already stays.
    told = complaint(file, ",columns=[answer:value,id:topic],kind=number")
    assert told.endswith("`--columns answer:value,id:topic,question:prompt`")


def test_columns_are_added_to_a_file_and_to_a_task_that_reads_columns_and_to_no_other(
    tmp_path: Path,
) -> None:
    file = jsonl(
        tmp_path / "q.jsonl", [{"prompt": "What is 3 + 4?", "target": "7", "key": "a"}]
    )
    pairs = ("question:prompt", "answer:target")
    typed = task_spec(str(file), pairs)
    assert typed == f"jsonl:path={file},columns=[question:prompt,answer:target]"
    assert task_spec(typed, pairs) == typed
    mapped = f"jsonl:path={file},columns=id:key"
    [item] = build("task", task_spec(mapped, pairs)).load().items
    assert (item.question.id, item.gold) == ("a", "7")
    with pytest.raises(
        UsageError,
        match="--columns has no effect: the task arithmetic reads no columns",
    ):
        task_spec("arithmetic", pairs)


@pytest.mark.parametrize(
    "content",
    ["question,answer\nA?,7\nB?,\nC?, \n", "question,answer\nA?,7\nB?\nC?,\n"],
)
def test_rows_without_an_answer_are_named_with_what_to_do(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / "q.csv").write_text(content)
    assert complaint(tmp_path / "q.csv") == (
        "q.csv:3 has no answer in the column 'answer', and so has 1 more row: fill it in or delete the row; "
        "`reasoner batch` asks questions without answers"
    )
