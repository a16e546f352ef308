"""What the name given as a model stands for: the embedded one, a folder here, or a Hugging Face id."""

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

from reasoner.errors import UnknownName, UsageError
from reasoner.models.embedded import EMBEDDED, EMBEDDED_NAME, embedded_path
from reasoner.models.snapshot import snapshot
from reasoner.types import Notify

# What the hub accepts: old models such as gpt2 have no organisation.
_HUB_ID = re.compile(r"(?!.*(--|\.\.))(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b(?<!\.git)", re.ASCII)


class Resolved(NamedTuple):
    """A model to serve: its name for people, what the engine loads, and its folder where that is on this machine."""

    name: str
    source: str
    folder: Path | None


def resolve(model: str, notify: Notify) -> Resolved:
    """Find a model by what was given for it; the embedded one is built first where it has to be.

    A hub id is left to the engine to fetch, and has a folder where the hub's cache holds the whole model.

    Raises:
        UsageError: it is neither the embedded model, a folder with a config.json, nor a Hugging Face id.
        EngineUnavailable: the embedded model cannot be built.
    """
    if model == EMBEDDED:
        folder = embedded_path(notify)
        return Resolved(EMBEDDED_NAME, str(folder), folder)
    # Not pathlib, which takes "" for this folder and raises on names too long to exist.
    if os.path.exists(os.path.expanduser(model)):  # noqa: PTH110, PTH111
        local = Path(model).expanduser()
        if not (local / "config.json").is_file():
            raise UsageError(f"{model!r} holds no config.json: give the folder of a model in Hugging Face format")
        return Resolved(model, str(local), local)
    if "/" not in model and difflib.get_close_matches(model, [EMBEDDED], cutoff=0.5):
        raise UnknownName("model", model, [EMBEDDED])
    if _HUB_ID.fullmatch(model):
        cached = snapshot(model)
        # From a folder the engine loads without asking the hub what is new.
        return Resolved(model, str(cached or model), cached)
    raise UsageError(
        f"no model named {model!r}: it is neither a local folder nor a Hugging Face id (org/name); `{EMBEDDED}` is "
        "built in"
    )
