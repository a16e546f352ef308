"""Defaults of options from a TOML file; see `reasoner --help`. An option, then its variable, goes before the file."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from reasoner.errors import UnknownName, UsageError

FILE: Final = "reasoner.cli.config.file"
"""The key of the file's path in the context."""


def default_file() -> Path:
    """The file that is read where --config names none, such as ~/.config/reasoner/config.toml on Linux."""
    return Path(click.get_app_dir("reasoner")) / "config.toml"


def read(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Make the file's values the defaults of the commands; does nothing where neither --config nor the file is there.

    Raises:
        click.UsageError: the file cannot be read, or holds an unknown key or a value that does not fit.
    """
    file = path or default_file()
    if context.resilient_parsing or (path is None and not file.is_file()):
        return
    try:
        defaults = _checked(file, _parsed(file), context, context.command)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    context.default_map = defaults
    context.meta[FILE] = file


def origins(context: click.Context) -> str:
    """Which parameters came from variables and from the file, for the end of an error line; empty if none did."""
    by_source: dict[str, list[str]] = {}
    names = {
        click.core.ParameterSource.ENVIRONMENT: "set by variables",
        click.core.ParameterSource.DEFAULT_MAP: f"set in {context.meta.get(FILE)}",
    }
    for parameter in context.command.get_params(context):
        source = context.get_parameter_source(parameter.name or "")
        if source in names and isinstance(parameter, click.Option):
            variable = f"{context.auto_envvar_prefix}_{(parameter.name or '').upper()}"
            key = variable if source is click.core.ParameterSource.ENVIRONMENT else _key(parameter)
            by_source.setdefault(names[source], []).append(key)
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


def _checked(file: Path, table: Mapping[str, Any], context: click.Context, command: click.Command) -> dict[str, Any]:
    """The table as click's defaults: by the names of parameters."""
    if isinstance(command, click.Group):
        return {name: _section(file, name, value, context, command) for name, value in table.items()}
    known = {_key(each): each for each in command.params if isinstance(each, click.Option) and each.expose_value}
    given = {key.replace("_", "-"): (key, value) for key, value in table.items()}
    for key, (written, _) in given.items():
        if key not in known:
            raise UsageError(f"{file}: {UnknownName('key', written, known, of=f'[{_path(context)}]')}")
    defaults = {}
    for key, (written, value) in given.items():
        name = known[key].name
        assert name is not None
        defaults[name] = _value(f"{file}: {written} of [{_path(context)}]", value, known[key], context)
    return defaults


def _section(file: Path, name: str, table: object, context: click.Context, group: click.Group) -> dict[str, Any]:
    """The defaults of one command of a group."""
    commands = group.list_commands(context)
    where = f"{file}: " if context.parent is None else f"{file}, [{_path(context)}]: "
    if name not in commands:
        if not isinstance(table, dict):
            raise UsageError(f"{where}{name} must be in the section of a command: write it below [solve] or [eval]")
        near = difflib.get_close_matches(name, commands, n=1)
        raise UsageError(f"{where}{UnknownName('section', name, commands, meant=repr(near[0]) if near else '')}")
    command = group.get_command(context, name)
    if command is None or not isinstance(table, dict):
        raise UsageError(f"{where}{name} must be a section: write [{name}] on a line and its options below")
    return _checked(file, table, click.Context(command, context, name), command)


def _value(where: str, value: object, option: click.Option, context: click.Context) -> object:
    """The value, if the option can have it."""
    values = value if option.multiple and isinstance(value, list) else [value]
    kind = bool if option.is_flag else (str, int, float)
    if not all(isinstance(each, kind) and isinstance(each, bool) == option.is_flag for each in values):
        wanted = "true or false" if option.is_flag else "a text or a number" + " or a list" * option.multiple
        raise UsageError(f"{where} must be {wanted} (got {value!r})")
    try:
        for each in values:
            option.type.convert(each, option, context)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message.rstrip('.')}") from error
    return values if option.multiple else value


def _key(option: click.Parameter) -> str:
    """The name of an option in the file: its long name without dashes, or its short one."""
    return max(option.opts, key=len).lstrip("-")


def _path(context: click.Context) -> str:
    """The names of the commands that lead to a context, as a section is named."""
    names = []
    each: click.Context | None = context
    while each is not None and each.parent is not None:
        names.append(each.info_name or "")
        each = each.parent
    return ".".join(reversed(names))
