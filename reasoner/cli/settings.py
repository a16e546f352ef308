"""The settings that `reasoner tune` writes, as defaults of the options of a command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reasoner.cli.options import AUTO, PATH, option
from reasoner.errors import UsageError, shown
from reasoner.system.settings import read_settings_table

MODEL: Final = ("model", "engine", "base_url")
"""The options that name the model; settings give all of them or none."""
SETTINGS = option(
    "--settings",
    type=PATH,
    metavar="FILE",
    section="Strategy",
    help="Strategy, verifier and model from `reasoner tune`. Typed options override them.",
)


def settled(settings: Path | None, typed: dict[str, Any]) -> dict[str, Any]:
    """The typed options, completed by the settings.

    A typed strategy leaves out the verifier and the budget of the settings; a typed model, engine or address leaves out
    their model. An option of the strategy auto has their profile, unless another one, or a model, is typed.

    Raises:
        UsageError: the file cannot be read or is not one of settings.
    """
    if settings is None:
        return typed
    table = read_settings_table(settings)
    default, verifiers, model = (
        _table(settings, table, name) for name in ("default", "verifiers", "model")
    )
    filled = dict(typed)
    several = "strategies" in typed
    name = "strategies" if several else "strategy"
    chosen = typed[name] or any(typed.get(each) is not None for each in AUTO)
    if not chosen and "strategy" in default:
        filled[name] = (default["strategy"],) if several else default["strategy"]
        # The budget of each question has another name in commands that ask several.
        limit = next(name for name in ("each", "budgets", "budget") if name in typed)
        if typed[limit] is typed.get("equal") is None and "budget" in default:
            filled[limit] = default["budget"]
        verifier = default.get("verifier")
        if typed["verifier"] is None and verifier:
            filled["verifier"] = verifiers.get(verifier, verifier)
    tuned = table.get("tuned")
    profile = tuned.get("profile") if isinstance(tuned, dict) else None
    asked = "profile" in typed and any(typed[each] is not None for each in AUTO)
    if asked and typed["profile"] is None and profile and not _names_model(typed):
        filled["profile"] = str(settings.parent / str(profile))
    return with_model(filled, model)


def with_model(typed: dict[str, Any], model: Mapping[Any, str]) -> dict[str, Any]:
    """The options with the model of the settings, where none was typed."""
    return typed if _names_model(typed) else {**typed, **model}


def _names_model(typed: Mapping[str, Any]) -> bool:
    return any(typed[name] is not None for name in MODEL)


def _table(path: Path, table: dict[str, Any], name: str) -> dict[str, str]:
    section = table.get(name, {})
    allowed = MODEL if name == "model" else None
    if not isinstance(section, dict) or any(
        not isinstance(value, str) or (allowed and key not in allowed)
        for key, value in section.items()
    ):
        keys = f" with {', '.join(MODEL)}" if allowed else ""
        raise UsageError(
            f"--settings {path}: [{name}] must be a table of texts{keys} (got {shown(section)})"
        )
    return section
