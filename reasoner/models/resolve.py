"""Resolves the name of a model: the embedded one, a local folder, or a Hugging Face id."""

import difflib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reasoner.errors import UnknownName, UsageError, shown
from reasoner.models.embedded import EMBEDDED, EMBEDDED_NAME, embedded_path
from reasoner.types import Notify

# The ids that the hub accepts: old models such as gpt2 have no organization.
_HUB_ID = re.compile(
    r"(?!.*(--|\.\.))(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b(?<!\.git)", re.ASCII
)
_SHARD = re.compile(r"(?P<stem>.+)-\d+-of-(?P<count>\d{1,5})(?P<ending>\.\w+)")


class ResolvedModel(NamedTuple):
    """A model to serve: its name, the source that the engine loads, and its local folder if there is one."""

    name: str
    source: str
    folder: Path | None


def resolve(model: str, notify: Notify, revision: str = "") -> ResolvedModel:
    """Find a model by its name; the embedded one is built first if necessary.

    The engine downloads a hub id, unless the hub's cache holds the complete model at this `revision`.

    Raises:
        UsageError: it is neither the embedded model, a folder with a config.json, nor a Hugging Face id.
        EngineUnavailable: the embedded model cannot be built.
    """
    if model == EMBEDDED:
        folder = embedded_path(notify)
        return ResolvedModel(EMBEDDED_NAME, str(folder), folder)
    # Not pathlib: it takes "" for the current folder and raises an error for very long names.
    if os.path.exists(os.path.expanduser(model)):  # noqa: PTH110, PTH111
        local = Path(model).expanduser()
        if not (local / "config.json").is_file():
            raise UsageError(
                f"{model!r} holds no config.json: give the folder of a model in Hugging Face format"
            )
        return ResolvedModel(model, str(local), local)
    if "/" not in model and difflib.get_close_matches(model, [EMBEDDED], cutoff=0.5):
        raise UnknownName("model", model, [EMBEDDED])
    if _HUB_ID.fullmatch(model):
        cached = snapshot(model, revision)
        # From a folder the engine loads without a request to the hub.
        return ResolvedModel(model, str(cached or model), cached)
    raise UsageError(
        f"no model named {shown(model)}: it is not a local folder and not a Hugging Face id (org/name); "
        f"`{EMBEDDED}` is built in"
    )


def snapshot(model: str, revision: str = "") -> Path | None:
    """The folder of a Hugging Face id in the hub's cache; None if it or a necessary file is missing.

    `revision` is a branch, a tag or a commit; "" is the main branch.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    configs = (
        try_to_load_from_cache(model, config, revision=revision or None)
        for config in ("config.json", "params.json")
    )
    folder = next(
        (Path(file).parent for file in configs if isinstance(file, str)), None
    )
    return folder if folder and is_complete(folder) else None


def downloaded_bytes(model: str) -> int:
    """Bytes that the hub's cache holds of a Hugging Face id, unfinished files included."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return 0
    total = 0
    for blob in (
        Path(HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "blobs"
    ).glob("*"):
        with suppress(OSError):  # a finished file gets another name
            total += blob.stat().st_size
    return total


def is_complete(folder: Path) -> bool:
    """Whether a snapshot has a tokenizer and all numbered shards of its weights, and no download is unfinished."""
    if any((folder.parents[1] / "blobs").glob("*.incomplete")):
        return False
    here = {
        file.name for file in folder.iterdir() if file.exists()
    }  # a link to a missing blob does not exist
    if not any(
        any(folder.glob(pattern))
        for pattern in (
            "tokenizer.json",
            "tekken.json",
            "vocab.json",
            "vocab.txt",
            "tokenizer.model*",
            "*.model",
            "*.tiktoken",
        )
    ):
        return False
    weights = {
        file.name
        for pattern in ("*.safetensors", "pytorch_model*.bin")
        for file in folder.glob(pattern)
    }
    expected = set(weights)
    for shard in filter(None, map(_SHARD.fullmatch, weights)):
        count, width = int(shard["count"]), len(shard["count"])
        names = (
            f"{shard['stem']}-{n:0{width}}-of-{shard['count']}{shard['ending']}"
            for n in range(1, count + 1)
        )
        expected |= set(names)
    return bool(weights) and expected <= here
