"""What decides a run: frozen as a whole, compared when it is resumed, without secrets."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from reasoner.answers.numbers import NumberSpace
from reasoner.budget import Budget
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import TraceError
from reasoner_evals.runs.arms import Grid, arms_of
from reasoner_evals.runs.manifest import Drift, differences, freeze, read_manifest
from reasoner_evals.runs.records import AskedItem, Manifest, RunFolder
from reasoner_evals.tasks.benchmark import TaskData
from tests.evals.runs.sittings import begin, task
from tests.helpers import without_checksums

Change = Callable[[Manifest], Manifest]


def manifest(
    tasks: Sequence[TaskData],
    *,
    engine: SimulatedEngine | None = None,
    grid: Grid | None = None,
) -> Manifest:
    """What a run of these tasks would freeze."""
    named = {data.source.task: data for data in tasks}
    arms = arms_of(grid or Grid(tuple(named)))
    return freeze(
        named, arms, engine or SimulatedEngine(), None, command="reasoner eval sums"
    )


def changed(**fields: object) -> Change:
    return lambda frozen: frozen.model_copy(update=fields)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    folder, data = RunFolder(tmp_path), task()
    frozen = manifest([data])
    begin(folder, frozen, {"sums": data})
    assert read_manifest(folder) == frozen
    lines = without_checksums(folder.items).read_text(encoding="utf-8").splitlines()
    items = [AskedItem.model_validate_json(line) for line in lines]
    assert [
        (item.task, item.question_id, item.text, item.gold, item.group)
        for item in items
    ] == [
        ("sums", item.question.id, item.question.text, item.gold, item.group)
        for item in data.items
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "items.jsonl",
        "manifest.json",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the manifest"),
        ("", "not a manifest: "),
        ("{}", "created: field required"),
        ('{"v": 1}', "v: it must be 2"),
    ],
)
def test_what_is_no_manifest_is_named(
    content: str | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(TraceError, match=message):
        read_manifest(RunFolder(tmp_path))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../elsewhere", "/tmp/x", "a/b", ".hidden", "a\0b"]
)
def test_an_arm_that_would_write_elsewhere_is_refused(
    name: str, tmp_path: Path
) -> None:
    frozen = manifest([task()])
    arm = frozen.arms[0].model_copy(update={"name": name})
    begin(RunFolder(tmp_path), frozen.model_copy(update={"arms": (arm,)}), {})
    with pytest.raises(TraceError, match="not a valid folder name"):
        read_manifest(RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (manifest([task(data_hash="d2")]), Drift("the data of sums", "d1", "d2")),
        (
            manifest([task(prompt="plain@2")]),
            Drift("the prompt of sums", "plain@1", "plain@2"),
        ),
        (manifest([task("more")]), Drift("the tasks", "sums", "more")),
        (
            manifest([task()], engine=SimulatedEngine(silent=0.5)),
            Drift("the engine", "simulated", "simulated:silent=0.5"),
        ),
        (
            manifest([task()]).model_copy(update={"answer_rules": {"number": 0}}),
            Drift(
                "the rules for reading answers",
                f"number@{NumberSpace.version}",
                "number@0",
            ),
        ),
        (
            manifest(
                [task()], grid=Grid(("sums",), ("self_consistency:n=16", "refine"))
            ),
            Drift(
                "the strategies",
                "self_consistency:n=16, single",
                "refine, self_consistency:n=16",
            ),
        ),
        (
            manifest([task()], grid=Grid(("sums",), seeds=(0, 3))),
            Drift("the seeds", "0", "0, 3"),
        ),
    ],
)
def test_what_has_changed_is_named_as_it_was_and_as_it_is(
    now: Manifest, found: Drift
) -> None:
    assert differences(manifest([task()]), now) == [found]


def test_budgets_verifier_prices_and_model_decide_a_run() -> None:
    grid = Grid(
        ("sums",), ("best_of_n:of=refine",), "certainty", (Budget(tokens=1000),)
    )
    was = manifest([task()], grid=grid)
    other = dataclasses.replace(grid, verifier="rules", budgets=(Budget(tokens=2000),))
    now = manifest([task()], grid=other)
    info = dataclasses.replace(now.model, revision="abc")
    now = now.model_copy(
        update={"prices": {"prompt": 1.0, "generated": 2.0}, "model": info}
    )
    assert differences(was, now) == [
        Drift("the verifier", "certainty", "rules"),
        Drift("the budgets", "tokens=1000", "tokens=2000"),
        Drift("the prices", "none", "generated=2, prompt=1"),
        Drift("the model's revision", "none", "abc"),
    ]


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        ("vllm:kv_gib=4.0,dtype=float32", "vllm:dtype=float32,max_num_seqs=8", True),
        ("vllm", "vllm:gpu_memory_utilization=0.5", True),
        (
            "openai:base_url=http://a/v1,model_id=m",
            "openai:base_url=http://b/v1,model_id=m,timeout=3.0",
            True,
        ),
        ("openai:model_id=m", "openai:model_id=n", False),
        ("vllm", "vllm:dtype=float32", False),
        ("vllm", "openai", False),
    ],
)
def test_where_and_how_fast_an_engine_runs_does_not_decide(
    was: str, now: str, same: bool
) -> None:
    frozen = manifest([task()])
    found = differences(changed(engine=was)(frozen), changed(engine=now)(frozen))
    assert (found == []) == same


def test_keys_and_passwords_stay_out() -> None:
    typed = "reasoner eval -e 'openai:api_key=sk-secret,timeout=3' --base-url https://me:word@host/v1"
    made = freeze({}, (), SimulatedEngine(), None, command=typed)
    assert (
        made.command
        == "reasoner eval -e 'openai:api_key=***,timeout=3' --base-url https://***@host/v1"
    )
