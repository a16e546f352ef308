"""The shards of a run, which are read as one run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from reasoner.errors import TraceError, UsageError
from reasoner_evals.runs.arms import Shard, Subset
from reasoner_evals.runs.manifest import differences, machine_differences, read_manifest
from reasoner_evals.runs.records import Manifest, RunFolder


def whole_manifest(path: Path, folders: Sequence[RunFolder]) -> Manifest:
    """The manifest of the run whose shards are in these folders inside `path`.

    `created` is the earliest of the shards', `command` and `machine` are those of shard 1.

    Raises:
        UsageError: a folder is no shard, the shards are not of one run, or not each is there once.
        TraceError: a manifest cannot be read.
    """
    shards = dict[Shard, tuple[RunFolder, Manifest]]()
    for folder in folders:
        manifest = read_manifest(folder)
        shard = _shard_of(folder, manifest)
        if shard in shards:
            raise UsageError(
                f"shard {shard} is there twice: {shards[shard][0].path} and {folder.path}"
            )
        shards[shard] = folder, manifest
    first, *others = sorted(shards, key=lambda shard: shard.part)
    for other in others:
        if other.count != first.count:
            raise UsageError(
                f"{shards[first][0].path} and {shards[other][0].path} are shards {first} and {other} of different runs"
            )
    if len(shards) < first.count:
        lacking = (Shard(first.count, part) for part in range(1, first.count + 1))
        named = next(str(shard) for shard in lacking if shard not in shards)
        raise UsageError(
            f"{path} lacks shard {named}: it has {len(shards):,} of {first.count:,}; run that too"
        )
    # A shard knows the kinds of its own questions only.
    rules = {
        name: version
        for _, manifest in shards.values()
        for name, version in manifest.answer_rules.items()
    }
    wholes = {
        shard: _without_part(shards[shard][1], rules) for shard in (first, *others)
    }
    for other in others:
        if what := _difference(wholes[first], wholes[other]):
            raise UsageError(
                f"{shards[first][0].path} and {shards[other][0].path} are not of one run: {what}; run all shards with "
                "the same options"
            )
    manifests = [shards[shard][1] for shard in wholes]
    sources = tuple(
        source.model_copy(
            update={"items": sum(each.sources[at].items for each in manifests)}
        )
        for at, source in enumerate(wholes[first].sources)
    )
    return wholes[first].model_copy(
        update={
            "sources": sources,
            "created": min(each.created for each in manifests),
            "notes": tuple(_notes(manifests)),
        }
    )


def _shard_of(folder: RunFolder, manifest: Manifest) -> Shard:
    subsets = {source.subset for source in manifest.sources}
    try:
        shard = Subset.parse(subsets.pop()).shard if len(subsets) == 1 else None
    except UsageError as error:
        raise TraceError(f"{folder.manifest}: {error}") from error
    if shard is None:
        raise UsageError(
            f"{folder.path} is not a shard: give one run, or a folder with the shards of one run alone"
        )
    return shard


def _without_part(manifest: Manifest, rules: dict[str, int]) -> Manifest:
    """The manifest of the whole run, from a shard; only the number of questions is unknown."""
    sources = tuple(
        source.model_copy(
            update={"subset": source.subset.partition(", shard")[0], "items": 0}
        )
        for source in manifest.sources
    )
    return manifest.model_copy(
        update={"sources": sources, "answer_rules": dict(sorted(rules.items()))}
    )


def _difference(first: Manifest, other: Manifest) -> str:
    """What differs between two shards as wholes, in words; empty where nothing does."""
    for drift in differences(first, other):
        return f"{drift.what} differ, {drift.was} and {drift.now}"
    same = (first.arms, first.sources) == (other.arms, other.sources)
    return "" if same else "their arms or their sources differ"


def _notes(manifests: Sequence[Manifest]) -> Iterator[str]:
    """The notes of all shards, and what a reader of the whole cannot know otherwise."""
    first = manifests[0]
    yield from dict.fromkeys(note for each in manifests for note in each.notes)
    if any(arm.total for arm in first.arms):
        yield f"a budget that all questions share was divided into {len(manifests)} equal parts, one for each shard"
    drifts = (machine_differences(first.machine, each.machine) for each in manifests)
    if differing := dict.fromkeys(drift.what for each in drifts for drift in each):
        yield f"the shards ran with different {', '.join(differing)}"
