"""The settings that `reasoner tune` writes, as defaults of the options of a command."""

import tomllib
from pathlib import Path
from typing import Any, Final

from reasoner.cli.look import option
from reasoner.cli.options import PATH
from reasoner.errors import UsageError, shown
from reasoner.system.files import read_whole

MAX_BYTES: Final = 1 << 20
MODEL: Final = ("model", "engine", "base_url")
"""The options that name the model; those of the settings go together."""
SETTINGS = option(
    "--settings", type=PATH, metavar="FILE", section="Strategy",
    help="The strategy, verifier and model that `reasoner tune` wrote; an option goes before them.",
)  # fmt: skip


def settled(settings: Path | None, typed: dict[str, Any]) -> dict[str, Any]:
    """The options as they were typed, with those of the settings where none was typed that says the same.

    A strategy that was typed goes without the verifier of the settings, and a model, engine or address without theirs.

    Raises:
        UsageError: the file cannot be read or is not one of settings.
    """
    if settings is None:
        return typed
    table = read_table(settings)
    default, verifiers, model = (_table(settings, table, name) for name in ("default", "verifiers", "model"))
    filled = dict(typed)
    several = "strategies" in typed
    if not typed["strategies" if several else "strategy"] and "strategy" in default:
        filled["strategies" if several else "strategy"] = (default["strategy"],) if several else default["strategy"]
        verifier = default.get("verifier")
        if typed["verifier"] is None and verifier:
            filled["verifier"] = verifiers.get(verifier, verifier)
    return with_model(filled, model)


def with_model(typed: dict[str, Any], model: dict[str, str]) -> dict[str, Any]:
    """The options with the model of the settings, where none was typed."""
    return typed if any(typed[name] is not None for name in MODEL) else {**typed, **model}


def read_table(path: Path) -> dict[str, Any]:
    """A TOML file. Raises UsageError if it cannot be read, or is none."""
    try:
        return tomllib.loads(read_whole(path, limit=MAX_BYTES).decode())
    except OSError as error:
        raise UsageError(f"cannot read --settings {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--settings {path} is not TOML: {error}") from error


def _table(path: Path, table: dict[str, Any], name: str) -> dict[str, str]:
    section = table.get(name, {})
    allowed = MODEL if name == "model" else None
    if not isinstance(section, dict) or any(
        not isinstance(value, str) or (allowed and key not in allowed) for key, value in section.items()
    ):
        keys = f" with {', '.join(MODEL)}" if allowed else ""
        raise UsageError(f"--settings {path}: [{name}] must be a table of texts{keys} (got {shown(section)})")
    return section
