"""`reasoner batch` as a process: killed at any moment, interrupted, and between two pipes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Run, finish, start
from tests.waiting import wait_until

COUNT = 90
ROWS = "".join(
    json.dumps({"question": f"What is {index} + 4?"}) + "\n" for index in range(COUNT)
)
COMMAND = ("batch", "-", "-e", "simulated", "-n", "6", "--concurrency", "4")


def lines(path: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in path.read_bytes().splitlines()
        if line.endswith(b"}")
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the questions."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.jsonl").write_text(ROWS)
    return tmp_path


def killed_after(count: int, answers: Path, *command: str) -> None:
    """Kill the command once this many answers are there; until then it waits for further rows, so it does not end."""
    with start(*command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(ROWS)
        process.stdin.flush()
        wait_for_answers(process, answers, count)
        process.kill()


def wait_for_answers(
    process: "subprocess.Popen[str]", answers: Path, count: int
) -> None:
    def there() -> bool:
        assert process.poll() is None
        return answers.exists() and answers.read_bytes().count(b"\n") >= count

    wait_until(there)


def test_a_batch_that_is_killed_twice_gives_the_answers_of_one_that_is_not(
    folder: Path, run: Run
) -> None:
    answers = folder / "a.jsonl"
    for count in (5, 20):
        killed_after(count, answers, *COMMAND, "-o", "a.jsonl")
    assert (folder / "a.jsonl.state").exists()
    before = lines(answers)
    assert run(*COMMAND, "-o", "a.jsonl", stdin=ROWS.encode()).code == 0
    assert not (folder / "a.jsonl.state").exists()
    assert lines(answers)[: len(before)] == before
    whole = [
        json.loads(line) for line in run(*COMMAND, stdin=ROWS.encode()).out.splitlines()
    ]
    course = ("id", "answer", "text", "samples", "tokens", "share")
    assert sorted([row[name] for name in course] for row in lines(answers)) == sorted(
        [row[name] for name in course] for row in whole
    )


def test_each_line_of_a_pipe_is_answered_before_the_next_one_comes() -> None:
    process = start(
        "batch", "-", "-e", "simulated", "-s", "single", "-q", stdin=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    for number in (1, 2, 3):
        process.stdin.write(json.dumps({"question": f"What is {number} + 4?"}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["row"] == number
    process.stdin.close()
    process.stdin = None
    assert finish(process) == (0, "", "")


def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    process = start("batch", "q.jsonl", *COMMAND[2:], "-q", cwd=folder)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert finish(process) == (0, "", "")
