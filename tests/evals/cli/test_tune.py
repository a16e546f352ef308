"""`reasoner tune`: from a file of questions to settings that other commands run."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from reasoner.calibration.profile import read_profile
from reasoner.registry import spec_of
from reasoner.serving.config import make_offer, read_settings
from tests.cli.command import Ended, Run
from tests.engines.fake_server import FakeServer, Fault

ENGINE = ("-e", "simulated:accuracy=0.6,tokens=40", "--budget", "400")
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
    for name in ("date", "profile"):
        read["tuned"].pop(name)
    [family] = read_profile(path.with_suffix(".profile.json")).families
    return {**read, "arms": family.arms}


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
    *_, earlier, latest = sorted(folder.glob("round-*"))
    lost = [*latest.glob("arms/*/*.jsonl"), *earlier.glob("arms/*/journal.jsonl")]
    for file in lost:
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    ended = tune(run, shared, folder.with_suffix(".toml"))
    assert ended.code == 0, ended.err
    assert settings(folder.with_suffix(".toml")) == settings(tuned)


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


def test_what_the_judge_shows_to_be_worse_is_not_written(
    shared: Path, tmp_path: Path, run: Run
) -> None:
    """No candidate is right in the race, so that it chooses one sample; the judge shows that a vote is better."""
    wrong = tmp_path / "wrong.jsonl"
    rows = [{"question": f"What is {n} + 300?", "answer": "-1"} for n in range(24)]
    wrong.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    out = tmp_path / "tuned.toml"
    judging = ("--judge-on", str(shared / "mine.jsonl"), "--out", str(out))
    ended = run("tune", str(wrong), *ENGINE, "-s", "self_consistency", *judging)
    assert ended.code == 0, ended.err
    written = tomllib.loads(out.read_text())
    assert written["default"]["strategy"].startswith("self_consistency")
    assert " beats one greedy sample by " in written["tuned"]["verdict"]
    assert "no candidate answered a question rightly" in ended.out
    assert "that did not race: +" in ended.out


FAMILY = ("-s", "self_consistency:n=8", "-s", "single:temperature=0")


def test_one_family_answers_all_questions_and_promises_by_its_profile(
    shared: Path, run: Run
) -> None:
    out = shared / "family.toml"
    asked = (
        "tune",
        str(shared / "mine.jsonl"),
        *ENGINE[:2],
        *FAMILY,
        "--out",
        str(out),
    )
    ended = run(*asked)
    assert ended.code == 0, ended.err
    page = out.with_suffix(".html").read_text()
    promised = re.findall(r"<th>promise</th><td>(\S+)", page)
    assert promised == ["auto:risk=0.05:", "auto:risk=0.02:", "auto:risk=0.01:"]
    assert "abstain_below of auto: 0 answers 100 %" in page
    path = out.with_suffix(".profile.json")
    [family] = read_profile(path).families
    assert family.questions == 66
    assert {row.questions for row in family.arms} == {66}
    assert any(row.strategy.startswith("single") for row in family.arms)
    spent = {file: file.read_bytes() for file in out.with_suffix("").rglob("trace.*")}
    assert run(*asked).out == ended.out
    assert spent == {file: file.read_bytes() for file in spent}
    solve = ("solve", "What is 3 + 4?", "--settings", str(out), "-s", "auto:risk=0.05")
    assert json.loads(run(*solve, "--json").out)["strategy"].startswith(
        f"auto:profile={path}"
    )
    # The profile is of another model than one that is typed.
    other = run(*solve, "-e", "simulated:accuracy=1", "--json")
    assert json.loads(other.out)["strategy"] == "auto:risk=0.05"


def test_a_race_leaves_a_profile_of_the_questions_that_the_vote_was_asked(
    tuned: Path,
) -> None:
    [family] = read_profile(tuned.with_suffix(".profile.json")).families
    rounds = tuned.with_suffix("").glob("round-*/items.jsonl")
    raced = sum(len(file.read_text().splitlines()) for file in rounds)
    # The judge may ask the same vote.
    assert family.questions in (raced, 66)


def test_candidates_that_all_fail_are_told_in_a_line_and_can_be_tried_again(
    tmp_path: Path, run: Run
) -> None:
    few = questions(tmp_path / "few.jsonl", 12)
    refused = Fault("status", 400, "this model is asleep")
    asked = ("tune", str(few), "-e", "openai:patience=0", "-s", "self_consistency:n=1")
    with FakeServer(faults=[refused] * 100) as server:
        out = tmp_path / "failed.toml"
        ended = run(*asked, "--base-url", server.url, "--out", str(out))
    assert (ended.code, ended.out) == (4, "")
    problem, again = ended.err.splitlines()[-2:]
    assert "no candidate has a result: " in problem
    assert "this model is asleep" in problem
    assert again == "the same command continues the race"
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--out", "tuned"), "must be a file that ends in .toml"),
        (("--out", "x.toml", "--total", "1"), "--total is too little to find the size"),
        (("--out", "x.toml", "--limit", "1"), "1 question cannot be divided"),
        (
            ("--out", "x.toml", "-s", "universal:n=2", "--no-tokens"),
            "self_consistency has no size: give --budget",
        ),
        (
            (
                "--out",
                "x.toml",
                "--no-tokens",
                "-s",
                "self_consistency:n=3",
                "--total",
                "1m",
            ),
            "--total has no effect without --budget",
        ),
        (
            (
                "--out",
                "bins.toml",
                "--no-tokens",
                "-s",
                "self_consistency:n=3",
                "--bins",
                "split",
            ),
            "looks at the first 4 samples of a vote, and the largest has 3",
        ),
        (
            ("--out", "tuned.toml", "--seed", "4"),
            "holds a race with other settings (task, seed)",
        ),
        (
            ("--out", "others.toml"),
            "or other files: give --out another name",
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
    Path("others").mkdir(exist_ok=True)
    Path("others/notes.txt").touch()
    given = list(arguments)
    tokens = () if {"--budget", "--no-tokens"} & set(given) else ENGINE[2:]
    given = [word for word in given if word != "--no-tokens"]
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
    # Nothing was measured, so nothing stays.
    assert not (shared / "x").exists()


@pytest.mark.parametrize(
    "damage",
    [(b'"tokens":', b'"tokens":-'), (b'"candidates":[', b'"candidates":[],"x":[')],
)
def test_a_damaged_file_of_sizes_is_refused_and_the_advice_works(
    shared: Path, tuned: Path, run: Run, damage: tuple[bytes, bytes]
) -> None:
    folder = shared / "damaged"
    shutil.copytree(tuned.with_suffix(""), folder, dirs_exist_ok=True)
    kept = folder / "race.json"
    kept.write_bytes(kept.read_bytes().replace(*damage))
    ended = tune(run, shared, folder.with_suffix(".toml"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.error == (
        f"error: {kept} is damaged, or of another version: give --out another name"
    )


def test_an_engine_that_does_not_start_leaves_nothing_behind(
    shared: Path, run: Run
) -> None:
    out = shared / "asleep.toml"
    asked = ("tune", str(shared / "mine.jsonl"), *NAMED, "--budget", "400")
    nobody = ("-e", "openai:patience=0", "--base-url", "http://127.0.0.1:9")
    ended = run(*asked, *nobody, "--out", str(out))
    assert (ended.code, ended.out) == (4, "")
    assert "continues the race" not in ended.err
    assert not out.with_suffix("").exists()


def test_a_hostile_or_damaged_file_of_settings_is_refused(
    tmp_path: Path, run: Run
) -> None:
    bad = tmp_path / "bad.toml"
    for content, problem in (
        ("[default", "is not TOML"),
        (f"default = {'[' * 10_000}", "is not TOML: it is nested too deeply"),
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


def test_the_budget_of_settings_holds_in_every_command(shared: Path, run: Run) -> None:
    file, limit = shared / "limited.toml", "tokens=900"
    file.write_text(f'[default]\nstrategy = "universal:n=2"\nbudget = "{limit}"\n')
    mine = str(shared / "mine.jsonl")
    settings = (*ENGINE[:2], "--settings", str(file))
    trace, answers = shared / "limited.jsonl", shared / "limited-answers.jsonl"
    run("solve", "What is 3 + 4?", *settings, "--trace", str(trace))
    assert limit in trace.read_text().splitlines()[0]
    ended = run("batch", mine, *settings, "-o", str(answers))
    assert ended.code == 0, ended.err
    folder = shared / "limited-run"
    ended = run("eval", mine, *settings, "--limit", "2", "--out", str(folder))
    assert ended.code == 0, ended.err
    [arm] = json.loads((folder / "manifest.json").read_text())["arms"]
    assert (arm["strategy"], arm["budget"]) == ("universal:n=2", limit)
    assert str(make_offer(read_settings(file)).default.budget) == limit


def test_one_file_races_and_another_one_judges(
    shared: Path, tmp_path: Path, run: Run
) -> None:
    rows = [
        {"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(200, 230)
    ]
    held_out = tmp_path / "test.jsonl"
    held_out.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    out = tmp_path / "held.toml"
    ended = tune(run, shared, out, "--judge-on", str(held_out), "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["questions"] == 30
    raced = [
        json.loads(line)["question_id"]
        for file in out.with_suffix("").glob("round-*/items.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert 0 < len(set(raced)) == len(raced) <= 66
    assert "test.jsonl" in tomllib.loads(out.read_text())["tuned"]["judged_on"]
    [family] = read_profile(out.with_suffix(".profile.json")).families
    assert family.questions <= len(raced)
    ended = tune(run, shared, out, "--judge-on", str(shared / "mine.jsonl"))
    assert ended.code == 2
    assert "66 questions of --judge-on" in ended.error
