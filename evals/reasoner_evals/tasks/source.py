"""Where a benchmark's rows come from: a local file, or a data set on the Hugging Face hub at a pinned revision."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.errors import UsageError
from reasoner_evals.tasks.files import digest, read_file
from reasoner_evals.tasks.rows import Row

_COMMIT = re.compile(r"[0-9a-f]{40}")
REACH_SECONDS = 5.0
"""The hub is unreachable if it does not answer within this time; `datasets` alone would try for half a minute."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a benchmark is published: its data set on the hub, and a public file that can be downloaded without it.

    `digest` is the beginning of the file's sha256, or "" if unknown. `hub` is "" if the hub does not have it.
    """

    hub: str
    split: str
    licence: str
    config: str = ""
    file: str = ""
    digest: str = ""

    def alternative(self, task: str) -> str:
        """What to do if the hub does not provide it."""
        file = f"fetch {self.file}" if self.file else "get the file from its authors"
        return f"{file}, and give it as {task}:data=FILE"


class Loaded(NamedTuple):
    """Rows and a description of where they come from."""

    rows: list[Row]
    origin: str


def from_file(path: Path, renames: Mapping[str, str], published: Published | None = None) -> Loaded:
    """The rows of a local file; the origin says whether it is the published one.

    Raises:
        UsageError: it cannot be read; the message names the line.
    """
    rows, sha256 = read_file(path, renames), digest(path)
    pinned = published is not None and published.digest and sha256.startswith(published.digest)
    status = f"pinned, {published.file}" if published and pinned else "unknown file"
    return Loaded(rows, f"{path} (sha256 {sha256}; {status})")


def from_hub(task: str, published: Published, revision: str, renames: Mapping[str, str]) -> Loaded:
    """The rows of a data set on the hub; the origin names the commit.

    Raises:
        UsageError: it is gated, unreachable or does not exist; the message says what to do instead.
    """
    if not published.hub:
        raise UsageError(f"{task} needs its data: {published.alternative(task)}")
    name = f"{published.hub} ({published.config})" if published.config else published.hub
    try:
        records, commit = _load(published, revision)
    except ImportError as error:
        raise UsageError(f"the package datasets cannot be imported ({error}): {published.alternative(task)}") from None
    except Exception as error:
        raise UsageError(_explain(task, published, revision, error)) from None
    rows = [Row(f"{name}, row {number}", number - 1, values, renames) for number, values in enumerate(records, 1)]
    if not rows:
        raise UsageError(f"{name} has no rows at revision {revision}: {published.alternative(task)}")
    return Loaded(rows, f"hub {name} {published.split} @ {commit}")


class _Unreachable(Exception):
    """The hub does not answer."""


def _load(published: Published, revision: str) -> tuple[Any, str]:
    import datasets  # type: ignore[import-untyped]
    import httpx
    import huggingface_hub as hub

    offline = bool(hub.constants.HF_HUB_OFFLINE)
    if not offline:
        try:
            httpx.head(hub.constants.ENDPOINT, timeout=REACH_SECONDS)
        except httpx.HTTPError as error:
            raise _Unreachable(str(error)) from None
    records = datasets.load_dataset(
        published.hub, published.config or None, split=published.split, revision=revision or None
    )
    if _COMMIT.fullmatch(revision):
        return records, revision
    if offline:
        return records, f"{revision or 'main'}, fingerprint {records._fingerprint}"
    return records, str(hub.HfApi().dataset_info(published.hub, revision=revision or None).sha)


def _explain(task: str, published: Published, revision: str, error: Exception) -> str:
    """One line about what failed and what to do."""
    reason, alternative = (str(error).splitlines() or [""])[0][:200], published.alternative(task)
    if "gated" in str(error).lower():
        return f"{published.hub} is gated: accept its terms and log in with `hf auth login`, or {alternative}"
    if isinstance(error, _Unreachable | ConnectionError):
        return (
            f"the hub cannot be reached for {published.hub} ({reason}): {alternative}; if it was loaded before, set "
            "HF_HUB_OFFLINE=1"
        )
    return f"{published.hub} cannot be loaded at revision {revision or 'main'} ({reason}): {alternative}"
