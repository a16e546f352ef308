"""`reasoner tune`: from a file of questions to settings that other commands run."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from reasoner.registry import spec_of
from reasoner.serving.config import make_offer, read_settings
from tests.cli.command import Ended, Run, finish, start

ENGINE = ("-e", "simulated:accuracy=0.6,tokens=40", "--tokens", "400")
NAMED = ("-s", "self_consistency", "-s", "universal:n=4")


def questions(path: Path, count: int = 66) -> Path:
    rows = [
        {"question": f"What is {n} + {n % 7}?", "answer": str(n + n % 7)}
        for n in range(count)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def settings(path: Path) -> dict[str, object]:
    read = tomllib.loads(path.read_text())
    read["tuned"].pop("date")
    return read


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    questions(folder / "mine.jsonl")
    return folder


@pytest.fixture
def tuned(shared: Path, run: Run) -> Path:
    """The settings of a finished race, made by the first test that uses them."""
    out = shared / "tuned.toml"
    if not out.exists():
        ended = tune(run, shared, out)
        assert ended.code == 0, ended.err
    return out


def tune(run: Run, shared: Path, out: Path, *more: str) -> Ended:
    return run(
        "tune", str(shared / "mine.jsonl"), *ENGINE, *NAMED, "--out", str(out), *more
    )


def test_the_same_command_asks_nothing_again_and_says_the_same(
    shared: Path, tuned: Path, run: Run
) -> None:
    before = settings(tuned)
    again = tune(run, shared, tuned, "--json")
    assert settings(tuned) == before
    told = json.loads(again.out)
    assert told["strategy"] == before["default"]["strategy"]  # type: ignore[index]
    assert (
        told["questions"] + max(each["questions"] for each in told["candidates"]) <= 66
    )
    assert {each["strategy"].partition(":")[0] for each in told["candidates"]} == {
        "single",
        "self_consistency",
        "universal",
    }
    page = tuned.with_suffix(".html").read_text()
    assert told["verdict"] in page.replace("&#39;", "'")
    assert "<script" not in page


def test_a_race_that_was_killed_ends_like_one_that_was_not(
    shared: Path, tuned: Path, run: Run
) -> None:
    folder = shared / "killed"
    shutil.copytree(tuned.with_suffix(""), folder)
    shutil.rmtree(folder / "judge")
    latest = max(folder.glob("round-*"))
    (latest / "finished").unlink()
    for trace in latest.glob("arms/*/trace.jsonl"):
        trace.write_bytes(trace.read_bytes()[: trace.stat().st_size * 2 // 3])
    ended = tune(run, shared, folder.with_suffix(".toml"))
    assert ended.code == 0, ended.err
    assert settings(folder.with_suffix(".toml")) == settings(tuned)


def test_two_processes_share_a_race(shared: Path, tuned: Path) -> None:
    parts = [
        start(
            "tune",
            str(shared / "mine.jsonl"),
            *ENGINE,
            *NAMED,
            "--shard",
            f"{index}/2",
            "--out",
            str(shared / f"part{index}.toml"),
            "--runs",
            str(shared / "both"),
        )
        for index in (1, 2)
    ]
    for index, part in enumerate(parts, 1):
        ended = finish(part)
        assert ended.code == 0, ended.err
        assert settings(shared / f"part{index}.toml") == settings(tuned)


def test_other_commands_run_what_was_tuned(shared: Path, tuned: Path, run: Run) -> None:
    chosen = settings(tuned)["default"]["strategy"]  # type: ignore[index]
    ended = run("solve", "What is 3 + 4?", "--settings", str(tuned), "--json")
    assert json.loads(ended.out)["strategy"] == chosen
    # A strategy or a model that is typed goes before the file's.
    ended = run(
        "solve",
        "What is 3 + 4?",
        "--settings",
        str(tuned),
        "-s",
        "single",
        "-e",
        "simulated:accuracy=1",
        "--json",
    )
    assert json.loads(ended.out)["strategy"] == "single"
    ended = run(
        "eval",
        str(shared / "mine.jsonl"),
        "--limit",
        "2",
        "--settings",
        str(tuned),
        "--out",
        str(shared / "run"),
        "--json",
    )
    assert [arm["strategy"] for arm in json.loads(ended.out)["arms"]] == [chosen]
    served = read_settings(tuned)
    assert spec_of(make_offer(served).default.strategy) == chosen
    assert served.model == {"engine": ENGINE[1]}
    answers = shared / "answers.jsonl"
    ended = run(
        "batch",
        str(shared / "mine.jsonl"),
        "--settings",
        str(tuned),
        "-o",
        str(answers),
    )
    assert ended.code == 0, ended.err
    assert len(answers.read_text().splitlines()) == 66


def test_few_questions_say_what_they_cannot_show_and_choose_safely(
    tmp_path: Path, run: Run
) -> None:
    few = questions(tmp_path / "few.jsonl", 24)
    ended = run(
        "tune",
        str(few),
        *ENGINE,
        "-s",
        "self_consistency",
        "--out",
        str(tmp_path / "few.toml"),
    )
    assert ended.code == 0, ended.err
    assert "questions judge: they show a difference of" in ended.out
    assert "a smaller one may be luck" in ended.out


def test_a_model_that_is_always_wrong_is_told_in_a_line(
    tmp_path: Path, run: Run
) -> None:
    few = questions(tmp_path / "few.jsonl", 24)
    ended = run(
        "tune",
        str(few),
        "-e",
        "simulated:accuracy=0,tokens=20",
        "--tokens",
        "200",
        "-s",
        "self_consistency",
        "--out",
        str(tmp_path / "wrong.toml"),
    )
    assert "no candidate answered a question rightly" in ended.out
    assert ended.out.startswith("Nothing is shown to beat one greedy sample here.")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--out", "tuned"), "must be a file that ends in .toml"),
        (("--out", "x.toml", "--spend", "10"), "--spend 10 is too little"),
        (("--out", "x.toml", "--limit", "1"), "1 questions cannot be divided"),
        (
            ("--out", "x.toml", "--tokens", "sequential=2k"),
            "--tokens must be an amount of tokens",
        ),
        (("--out", "x.toml", "-s", "nonsense"), "nonsense"),
        (("--out", "x.toml", "--shard", "3/2"), "--shard must be I/N"),
        (
            ("--out", "tuned.toml", "--seed", "4"),
            "holds a race with other settings (task, seed)",
        ),
        (
            ("--out", "tuned.toml", "--spend", "1m"),
            "holds a race with other settings (task, spend)",
        ),
        (
            ("--out", "x.toml", "--runs", "."),
            "holds other files: give --runs another folder",
        ),
    ],
)
def test_what_does_not_work_is_refused_in_one_line(
    shared: Path,
    tuned: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.chdir(shared)
    given = list(arguments)
    tokens = () if "--tokens" in given else ENGINE[2:]
    ended = run(
        "tune",
        "mine.jsonl",
        *ENGINE[:2],
        *tokens,
        *(() if "-s" in given else NAMED),
        *given,
    )
    assert ended.code == 2
    assert problem in ended.error


def test_a_hostile_or_damaged_file_of_settings_is_refused(
    tmp_path: Path, run: Run
) -> None:
    bad = tmp_path / "bad.toml"
    for content, problem in (
        ("[default", "is not TOML"),
        (
            "[model]\nshell = 'x'",
            "[model] must be a table of texts with model, engine, base_url",
        ),
        ("default = 3", "[default] must be a table of texts"),
    ):
        bad.write_text(content)
        ended = run("solve", "What is 3 + 4?", "--settings", str(bad))
        assert ended.code == 2
        assert problem in ended.error
    assert (
        "cannot read --settings"
        in run("solve", "1?", "--settings", str(tmp_path / "none.toml")).error
    )
