"""Profiles as files: made from runs, put together with what was there."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from reasoner.controller.profile import Family, Profile, read_profile
from reasoner.errors import UsageError
from reasoner_evals.profiling.binning import Binning
from reasoner_evals.profiling.families import Made, family_of
from reasoner_evals.runs.reading import RunData, open_run


def open_runs(paths: Sequence[Path]) -> list[RunData]:
    """The folders of these runs.

    Raises:
        UsageError: one is given twice, or they are of different models.
        TraceError: one cannot be read.
    """
    for place, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:place]]:
            raise UsageError(f"run {path} is given twice: keep one")
    runs = [open_run(path) for path in paths]
    for run in runs[1:]:
        if run.manifest.model != runs[0].manifest.model:
            raise UsageError(
                f"{runs[0].name} is of the model {runs[0].manifest.model.name} and {run.name} of "
                f"{run.manifest.model.name}, or of another revision of it: a profile is of one model; calibrate each "
                "on its own"
            )
    return runs


def families_of(runs: Sequence[RunData], binning: Binning) -> dict[str, Made]:
    """What runs of one model measured, task by task. Raises as `family_of`."""
    tasks = dict.fromkeys(task for run in runs for task in run.tasks)
    return {task: family_of([run for run in runs if task in run.tasks], task, binning) for task in tasks}


def merged(model: str, families: Sequence[Family], former: Profile | None, *, now: datetime | None = None) -> Profile:
    """A profile of these families, and of those of a former one that are of other tasks; their order stays."""
    fresh = {family.task: family for family in families}
    kept = {family.task: family for family in (former.families if former else ())}
    moment = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    return Profile(model=model, created=moment, families=tuple((kept | fresh).values()))


def former_profile(path: Path, model: str | None) -> Profile | None:
    """The profile that is there and is added to; None where there is none.

    Raises:
        UsageError: what is there is no profile, or one of another model than `model`, where that is known.
    """
    if not path.exists():
        return None
    former = read_profile(path)
    if model is not None and former.model != model:
        raise UsageError(
            f"{path} is the profile of {former.model}, and this is about {model}: a profile is of one model; give "
            "--out another file"
        )
    return former
