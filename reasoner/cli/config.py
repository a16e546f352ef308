"""Defaults of options from a TOML file; see `reasoner --help`. An option, then its variable, goes before the file."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from reasoner.errors import UnknownName, UsageError

FILE: Final = "reasoner.cli.config.file"
"""The key of the file's path in the context."""


def read(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Make the file's values the defaults of the commands.

    Without --config it is config.toml in the folder for settings, such as ~/.config/reasoner, if there is one.

    Raises:
        click.UsageError: the file cannot be read, or holds an unknown section or key.
    """
    file = path or Path(click.get_app_dir("reasoner")) / "config.toml"
    if context.resilient_parsing or (path is None and not file.is_file()):
        return
    try:
        context.default_map = _defaults(f"{file}", _parsed(file), context.command, context)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    context.meta[FILE] = file


def origins(context: click.Context) -> str:
    """Which parameters came from variables and from the file, for the end of an error line; empty if none did."""
    by_source: dict[str, list[str]] = {}
    for parameter in context.command.get_params(context):
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.ENVIRONMENT:
            variable = f"{context.auto_envvar_prefix}_{name.upper()}"
            by_source.setdefault("set by variables", []).append(variable)
        elif source is click.core.ParameterSource.DEFAULT_MAP:
            by_source.setdefault(f"set in {context.meta.get(FILE)}", []).append(_key(parameter))
    return "".join(f"; {words}: {', '.join(keys)}" for words, keys in by_source.items())


def _parsed(file: Path) -> dict[str, Any]:
    import tomllib

    from reasoner.system.files import read_whole

    try:
        return tomllib.loads(read_whole(file, limit=1 << 20).decode())
    except OSError as error:
        raise UsageError(f"cannot read --config {file}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--config {file} is not TOML: {error}") from error


def _defaults(
    where: str, table: Mapping[str, Any], command: click.Command, context: click.Context, section: str = ""
) -> dict[str, Any]:
    """A table as click's defaults, by the names of commands and parameters; click checks the values itself."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {section} must be a section: write [{section}] on a line and its options below")
    defaults: dict[str, Any] = {}
    if isinstance(command, click.Group):
        names = command.list_commands(context)
        for name, value in table.items():
            inner = command.get_command(context, name) if name in names else None
            if inner is None and not isinstance(value, dict):
                raise UsageError(f"{where}: {name} must be in the section of a command: write it below [solve]")
            if inner is None:
                near = difflib.get_close_matches(name, names, n=1)
                meant = repr(near[0]) if near else ""
                raise UsageError(f"{where}: {UnknownName('section', name, names, meant=meant)}")
            defaults[name] = _defaults(where, value, inner, context, f"{section}.{name}".lstrip("."))
        return defaults
    known = {_key(each): each for each in command.params if isinstance(each, click.Option)}
    for name, value in table.items():
        key = name.replace("_", "-")
        if key not in known:
            raise UsageError(f"{where}: {UnknownName('key', name, known, of=f'[{section}]')}")
        several = known[key].multiple and not isinstance(value, list)
        defaults[known[key].name or ""] = [value] if several else value
    return defaults


def _key(option: click.Parameter) -> str:
    """The name of an option in the file: its long name without dashes, or its short one."""
    return max(option.opts, key=len).lstrip("-")
