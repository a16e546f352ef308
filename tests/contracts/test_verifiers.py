"""What every registered verifier promises: one suite, run over the catalog."""

import asyncio
import dataclasses
import typing
from pathlib import Path

import pytest

from reasoner import Budget, solve_sync
from reasoner.answers.questions import Question
from reasoner.engine import SampleRequest
from reasoner.errors import ReasonerError, UnknownName
from reasoner.registry import build, entries, load, spec_of
from reasoner.specs import Spec
from reasoner.strategy import Plan, Propose, Sample, Score
from reasoner.types import Answer, Completion, Logprobs, Part, Rating, SamplingParams, VoteState
from reasoner.verifier import CostMeter, Verifier
from reasoner_verifiers.calibrated import Calibration
from reasoner_verifiers.certainty import Measure
from reasoner_verifiers.judge import Ask
from tests.helpers import Planned, books, completion, meter_of, number_question
from tests.scripted import ScriptedEngine

QUESTION = number_question()
NEEDS_A_MODEL = {"orm", "prm"}
"""Held to the same in `tests/engine`, on real reward models."""
SPECS = {
    "calibrated": "calibrated:verifier=certainty,file={map}",
    "certainty": "certainty",
    "code": 'code:tests={{"stdin": "", "expected": "1"}},allow_unsandboxed=true',
    "ensemble": "ensemble:members=[certainty,judge]",
    "judge": "judge:min_mass=0",
    "rules": 'rules:pattern="answer is [0-9]"',
}
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "calibrated": {"verifier": ("certainty",), "file": ("{map}",)},
    "certainty": {
        "measure": typing.get_args(Measure),
        "top_k": ("2", "20"),
        "window": ("1", "9"),
        "part": typing.get_args(Part),
    },
    "code": {
        "tests": ("assert True",),
        "entry_point": ("f",),
        "tests_file": ("{map}",),
        "timeout": ("1.5",),
        "allow_unsandboxed": ("true", "false"),
    },
    "ensemble": {"members": ("certainty", "[certainty,judge]"), "how": ("mean", "product")},
    "judge": {
        "ask": typing.get_args(Ask),
        "criteria": ("polite", "[polite,short]"),
        "think": ("9",),
        "repeats": (),
        "min_mass": ("0.25",),
        "model": ("some/model",),
        "base_url": ("http://localhost:1/v1",),
        "args": (),
    },
    "rules": {"pattern": ("x+",), "call": ()},
}

pytestmark = pytest.mark.parametrize("name", sorted(SPECS))


@pytest.fixture(scope="module", autouse=True)
def map_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of plain certainty, which changes nothing."""
    line = Calibration(verifier="certainty", fitted_on={}, x=(0, 1), y=(0, 1))
    FILES["map"] = tmp_path_factory.mktemp("maps") / "map.json"
    FILES["map"].write_text(line.model_dump_json())
    return FILES["map"]


FILES: dict[str, Path] = {}


def made(name: str) -> Verifier:
    verifier: Verifier = build("verifier", SPECS[name].format(**FILES))
    return verifier


def candidates(verifier: Verifier) -> list[Completion]:
    """Sequences that carry what the verifier asks for."""
    kept = verifier.logprobs
    found = []
    for index, sure in enumerate((-0.1, -0.7, -2.0)):
        top = ((sure, *[-3.0] * (kept - 1)),) * 3 if kept else ()
        logprobs = None if kept is None else Logprobs((sure,) * 3, top)
        found.append(completion(f"The answer is {index}", index=index, logprobs=logprobs))
    return found


def test_the_catalog_holds_these_and_those_that_need_a_model(name: str) -> None:
    assert set(entries("verifier")) == SPECS.keys() | NEEDS_A_MODEL
    assert OPTIONS[name].keys() == {f.name for f in dataclasses.fields(load("verifier", name)) if f.init}


def script(request: SampleRequest) -> str:
    """A policy that is asked to solve and to judge."""
    return "Yes" if request.watch else f"The answer is {7 + request.index}"


def rated(verifier: Verifier, candidate: Completion) -> Rating:
    async def go() -> Rating:
        policy = ScriptedEngine(script)
        await verifier.start(policy)
        bound = await verifier.bound(QUESTION, candidate, policy)
        rating = await verifier.score(QUESTION, candidate, policy, CostMeter())
        await verifier.close()
        for field in dataclasses.fields(bound):
            if field.name not in ("seconds", "cached_tokens"):
                assert getattr(rating.cost, field.name) <= getattr(bound, field.name), field.name
        return rating

    return asyncio.run(go())


def test_a_rating_is_in_range_costs_no_more_than_its_bound_and_is_the_same_again(name: str) -> None:
    for candidate in candidates(made(name)):
        first, second = rated(made(name), candidate), rated(made(name), candidate)
        assert first.value is not None
        assert 0 <= first.value <= 1
        assert first.value == second.value


def test_what_it_cannot_rate_is_an_error_and_never_a_value(name: str) -> None:
    verifier = made(name)
    if verifier.logprobs is None:
        pytest.skip("it needs nothing of a sequence but its text: its own tests say what it cannot rate")
    with pytest.raises(ReasonerError, match="log-probabilities"):
        rated(verifier, completion("The answer is 7"))


def judged(question: Question) -> Plan[Answer | None]:
    drawn = yield Sample((question.prompt,), 3, SamplingParams(max_tokens=20))
    ratings = yield Score(question, drawn)
    best = max(zip((rating.value or 0 for rating in ratings), range(3), strict=True))[1]
    answer = question.read(drawn[best])
    yield Propose(answer, VoteState())
    assert all(rating.error == "" for rating in ratings)
    return answer


def test_the_runner_gets_it_what_it_needs_and_books_what_it_costs(name: str) -> None:
    engine = ScriptedEngine(script, certainty=lambda request: 0.5 + request.index / 10)
    verifier = made(name)
    solution = solve_sync(
        QUESTION, Planned(judged, uses_verifier=True), engine, verifier=verifier, budget=Budget(tokens=10_000)
    )
    assert solution.error is None
    prompt, cached, generated = meter_of(engine)
    assert books(solution.cost)[0] + solution.cost.verifier_tokens + books(solution.cost)[2] == prompt + generated
    assert solution.cost.cached_tokens == cached


def test_its_options_are_taken_kept_and_written_again(name: str) -> None:
    plain, base = made(name), SPECS[name].format(**FILES)
    assert build("verifier", spec_of(plain)) == plain
    given = Spec.parse(base)
    for option, values in OPTIONS[name].items():
        with pytest.raises(UnknownName, match=f"did you mean '{option}'"):
            build("verifier", f"{base}{',' if given.options else ':'}{option}x=1")
        for value in (one.format(**FILES) for one in values):
            changed = build("verifier", Spec(name, {**given.options, **Spec.parse(f"{name}:{option}={value}").options}))
            assert build("verifier", spec_of(changed)) == changed
            unset = getattr(plain, option) == getattr(changed, option)
            assert (changed == plain) == unset
