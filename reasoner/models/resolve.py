"""Resolves the name of a model: the embedded one, a local folder, or a Hugging Face id."""

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

from reasoner.errors import UnknownName, UsageError
from reasoner.models.embedded import EMBEDDED, EMBEDDED_NAME, embedded_path
from reasoner.models.snapshot import snapshot
from reasoner.types import Notify

# The ids that the hub accepts: old models such as gpt2 have no organization.
_HUB_ID = re.compile(r"(?!.*(--|\.\.))(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b(?<!\.git)", re.ASCII)


class Resolved(NamedTuple):
    """A model to serve: its name, the source that the engine loads, and its local folder if there is one."""

    name: str
    source: str
    folder: Path | None


def resolve(model: str, notify: Notify) -> Resolved:
    """Find a model by its name; the embedded one is built first if necessary.

    The engine downloads a hub id, unless the hub's cache holds the complete model.

    Raises:
        UsageError: it is neither the embedded model, a folder with a config.json, nor a Hugging Face id.
        EngineUnavailable: the embedded model cannot be built.
    """
    if model == EMBEDDED:
        folder = embedded_path(notify)
        return Resolved(EMBEDDED_NAME, str(folder), folder)
    # Not pathlib: it takes "" for the current folder and raises an error for very long names.
    if os.path.exists(os.path.expanduser(model)):  # noqa: PTH110, PTH111
        local = Path(model).expanduser()
        if not (local / "config.json").is_file():
            raise UsageError(f"{model!r} holds no config.json: give the folder of a model in Hugging Face format")
        return Resolved(model, str(local), local)
    if "/" not in model and difflib.get_close_matches(model, [EMBEDDED], cutoff=0.5):
        raise UnknownName("model", model, [EMBEDDED])
    if _HUB_ID.fullmatch(model):
        cached = snapshot(model)
        # From a folder the engine loads without a request to the hub.
        return Resolved(model, str(cached or model), cached)
    raise UsageError(
        f"no model named {model!r}: it is not a local folder and not a Hugging Face id (org/name); `{EMBEDDED}` is "
        "built in"
    )
