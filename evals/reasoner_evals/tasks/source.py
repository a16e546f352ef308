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
"""Without an answer from the hub within these, it is unreachable; `datasets` alone would try for half a minute."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a benchmark is to be had: its data set on the hub, and a public file that needs no hub.

    `digest` begins the sha256 of that file, empty where it is not known. The hub's name is empty where there is none.
    """

    hub: str
    split: str
    licence: str
    config: str = ""
    file: str = ""
    digest: str = ""

    def instead(self, task: str) -> str:
        """What to do where the hub does not give it."""
        file = f"fetch {self.file}" if self.file else "get the file from its authors"
        return f"{file}, and give it as {task}:data=FILE"


class Read(NamedTuple):
    """Rows, and where they came from in words."""

    rows: list[Row]
    origin: str


def from_file(path: Path, published: Published, renamed: Mapping[str, str]) -> Read:
    """The rows of a local file; its origin says whether it is the public one.

    Raises:
        UsageError: it cannot be read; the message names the line.
    """
    rows = read_file(path, renamed)
    found = digest(path)
    known = "unknown file"
    if published.digest and found.startswith(published.digest):
        known = f"pinned, {published.file}"
    return Read(rows, f"{path} (sha256 {found}; {known})")


def from_hub(task: str, published: Published, revision: str, renamed: Mapping[str, str]) -> Read:
    """The rows of a data set on the hub; its origin names the commit.

    Raises:
        UsageError: it is gated, unreachable or not there; the message says what to do instead.
    """
    if not published.hub:
        raise UsageError(f"{task} needs its data: {published.instead(task)}")
    name = f"{published.hub} ({published.config})" if published.config else published.hub
    try:
        loaded, commit = _loaded(published, revision)
    except ImportError as error:
        raise UsageError(f"the package datasets cannot be imported ({error}): {published.instead(task)}") from None
    except Exception as error:
        raise UsageError(_told(task, published, revision, error)) from None
    rows = [Row(f"{name}, row {number}", number - 1, values, renamed) for number, values in enumerate(loaded, 1)]
    if not rows:
        raise UsageError(f"{name} has no rows at revision {revision}: {published.instead(task)}")
    return Read(rows, f"hub {name} {published.split} @ {commit}")


class _Unreachable(Exception):
    """No answer from the hub."""


def _loaded(published: Published, revision: str) -> tuple[Any, str]:
    import datasets  # type: ignore[import-untyped]
    import httpx
    import huggingface_hub as hub

    offline = bool(hub.constants.HF_HUB_OFFLINE)
    if not offline:
        try:
            httpx.head(hub.constants.ENDPOINT, timeout=REACH_SECONDS)
        except httpx.HTTPError as error:
            raise _Unreachable(str(error)) from None
    loaded = datasets.load_dataset(
        published.hub, published.config or None, split=published.split, revision=revision or None
    )
    if _COMMIT.fullmatch(revision):
        return loaded, revision
    if offline:
        return loaded, f"{revision or 'main'}, fingerprint {loaded._fingerprint}"
    return loaded, str(hub.HfApi().dataset_info(published.hub, revision=revision or None).sha)


def _told(task: str, published: Published, revision: str, error: Exception) -> str:
    """One line about what went wrong, and what to do."""
    why = (str(error).splitlines() or [""])[0][:200]
    if "gated" in str(error).lower():
        return (
            f"{published.hub} is gated: accept its terms and log in with `hf auth login`, or {published.instead(task)}"
        )
    if isinstance(error, _Unreachable | ConnectionError):
        return (
            f"the hub cannot be reached for {published.hub} ({why}): {published.instead(task)}; where it was loaded "
            f"before, set HF_HUB_OFFLINE=1"
        )
    return f"{published.hub} cannot be loaded at revision {revision or 'main'} ({why}): {published.instead(task)}"
