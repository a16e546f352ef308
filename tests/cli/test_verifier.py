"""`reasoner verifier`: maps fitted on labelled runs, and what it says where they cannot be."""

import asyncio
import json
from pathlib import Path

import pytest

from reasoner.engine import SampleRequest
from reasoner.registry import build
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question
from reasoner.verifier import Verifier
from reasoner_evals.tasks.graders import GradedQuestion
from reasoner_strategies import BestOfN, SelfConsistency
from reasoner_verifiers.labelled import read_labelled
from tests.cli.command import Run
from tests.labelling import label


def sure(request: SampleRequest) -> bool:
    return request.seed % 2 == 0


def labelled(folder: Path, verifier: str | None) -> Path:
    """24 questions, 4 answers each; what is right is what the model was surer of."""
    engine = ScriptedEngine(
        lambda request: f"The answer is {7 if sure(request) else 8}",
        certainty=lambda request: 0.9 if sure(request) else 0.6,
    )
    items = [GradedQuestion(number_question(f"q{place}"), "7") for place in range(24)]
    rating: Verifier | None = build("verifier", verifier) if verifier else None
    strategy = BestOfN(4) if verifier else SelfConsistency(4)
    asyncio.run(label(items, strategy, engine, folder, verifier=rating))
    return folder


def test_a_calibration_is_fitted_and_used(run: Run, tmp_path: Path) -> None:
    folder, out = labelled(tmp_path / "run", "certainty"), tmp_path / "map.json"
    ended = run("verifier", "calibrate", str(folder), "--out", str(out))
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    document = json.loads(out.read_text())
    assert document["verifier"] == "certainty"
    assert document["fitted_on"]["ratings"] == 96
    spec = f"calibrated:verifier=certainty,file={out}"
    solved = run(
        "solve",
        "What is 3 + 4?",
        "-e",
        "simulated:answers=7",
        "-s",
        "best_of_n:n=3",
        "--verifier",
        spec,
        "--json",
    )
    assert solved.code == 0, solved.err
    assert json.loads(solved.out)["verifier"] == spec


def test_runs_without_ratings_are_refused(run: Run, tmp_path: Path) -> None:
    folder = labelled(tmp_path / "run", None)
    ended = run("verifier", "calibrate", str(folder), "--out", str(tmp_path / "x"))
    assert ended.code == 2
    assert "were rated by none: give runs that one verifier rated" in ended.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("calibrate", "nowhere", "--out", "x"),
            "cannot read the grades nowhere/grades.jsonl",
        ),
        (
            ("fit", "nowhere", "--out", "no/folder/x.safetensors"),
            "there is no folder no/folder",
        ),
        (("fit", "nowhere", "--out", "x"), "ends in .safetensors, by which `orm`"),
        (("fit", "nowhere"), "missing option '--out'"),
        (("fitt",), "No such command 'fitt'"),
    ],
)
def test_what_cannot_work_is_one_line(
    run: Run, arguments: tuple[str, ...], error: str
) -> None:
    ended = run("verifier", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert error.lower() in ended.err.lower()
    assert ended.err.count("\n") == 1


def test_the_folder_of_an_evaluation_is_a_labelled_run_and_shared_samples_count_once(
    run: Run, tmp_path: Path
) -> None:
    folder, out = tmp_path / "run", tmp_path / "map.json"
    strategies = ("-s", "self_consistency:n=4", "-s", "best_of_n:n=4,temperature=0.7")
    engine = ("-e", "simulated", "--verifier", "certainty")
    assert (
        run(
            "eval",
            "arithmetic",
            "--limit",
            "12",
            *strategies,
            *engine,
            "--out",
            str(folder),
        ).code
        == 0
    )
    assert run("verifier", "calibrate", str(folder), "--out", str(out)).code == 0
    arm = next((folder / "arms").glob("*best_of_n*"))
    alone = tmp_path / "alone.json"
    assert run("verifier", "calibrate", str(arm), "--out", str(alone)).code == 0
    whole, single = (json.loads(path.read_text())["fitted_on"] for path in (out, alone))
    assert whole == single
    assert len(read_labelled([folder])) == 12 * 4
