"""The settings of a server: a TOML file for aliases, verifiers, limits and keys."""

import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from reasoner.budget import Budget
from reasoner.errors import UnknownName, UsageError, require, shown
from reasoner.serving.bodies import MAX_BODY
from reasoner.serving.choice import Alias, default_aliases
from reasoner.serving.limits import Key
from reasoner.system.files import read_whole

MAX_BYTES: Final = 1 << 20
"""Bytes that a file of settings or keys may have."""
SECTIONS: Final = ("default", "aliases", "verifiers", "limits", "keys")
NAMED_BY_CLIENTS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
"""Characters of a name that clients write."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server bounds.

    `max_concurrent` requests are answered at once, `queue` more wait. `max_budget` bounds each request. A body has at
    most `body_bytes`, and arrives within `body_seconds`.
    """

    max_concurrent: int = 256
    queue: int = 1024
    max_budget: Budget = Budget()
    body_bytes: int = MAX_BODY
    body_seconds: float = 30.0

    def __post_init__(self) -> None:
        require(self.max_concurrent, "max_concurrent", at_least=1, whole=True)
        require(self.queue, "queue", at_least=0, whole=True)
        require(self.body_bytes, "body_bytes", at_least=1, at_most=MAX_BODY, whole=True)
        require(self.body_seconds, "body_seconds", above=0)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a file says of a server. `verifiers` are specs by the names that requests use."""

    default: Alias | None = None
    aliases: Mapping[str, Alias] = field(default_factory=default_aliases)
    verifiers: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    keys: tuple[Key, ...] = field(default=(), repr=False)


def read_settings(path: Path) -> Settings:
    """The settings of a TOML file.

    Raises:
        UsageError: it cannot be read, or has an unknown section or key, or a value that does not fit.
    """
    try:
        table = tomllib.loads(_text("--settings", path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--settings {path} is not TOML: {error}") from error
    if "keys" in table:
        _check_private("--settings", path)
    try:
        return _settings(table)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _text(option: str, path: Path) -> str:
    try:
        return read_whole(path, limit=MAX_BYTES).decode()
    except OSError as error:
        raise UsageError(f"cannot read {option} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {path} is not text") from error


def _check_private(option: str, path: Path) -> None:
    """Refuse a file with keys that other users may read."""
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise UsageError(f"{option} {path} holds keys and can be read by others: run `chmod 600 {path}`")


def _settings(table: Mapping[str, Any]) -> Settings:
    for name in table:
        if name not in SECTIONS:
            raise UnknownName("section", name, SECTIONS)
    sections = {name: _table(f"[{name}]", table.get(name, {})) for name in SECTIONS}
    limits = _limits(sections["limits"])
    aliases = {_name("alias", name): _alias(f"[aliases.{name}]", value) for name, value in sections["aliases"].items()}
    verifiers = {
        _name("verifier", name): _typed(f"{name} of [verifiers]", value, str)
        for name, value in sections["verifiers"].items()
    }
    keys = tuple(
        Key.of(_typed(f"{name} of [keys]", value, str, secret=True), name) for name, value in sections["keys"].items()
    )
    default = _alias("[default]", sections["default"]) if "default" in table else None
    return Settings(default, {**default_aliases(), **aliases}, verifiers, limits, keys)


def _limits(table: Mapping[str, Any]) -> Limits:
    values: dict[str, Any] = {}
    for name, value in _known("[limits]", table, [each.name for each in fields(Limits)]).items():
        where = f"{name} of [limits]"
        if name.endswith("_budget"):
            values[name] = Budget.parse(_typed(where, value, str))
        else:
            values[name] = _typed(where, value, int, float) if name == "body_seconds" else _typed(where, value, int)
    return Limits(**values)


def _alias(where: str, value: object) -> Alias:
    known = [each.name for each in fields(Alias)]
    table = _known(where, _table(where, value), known)
    if "strategy" not in table:
        raise UsageError(f'{where} needs a strategy, as in strategy = "self_consistency:n=8"')
    return Alias(**{name: _typed(f"{name} of {where}", text, str) for name, text in table.items()})


def _table(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a section (got {type(value).__name__}): write {where} on a line of its own")
    return value


def _known(where: str, table: Mapping[str, Any], known: Iterable[str]) -> Mapping[str, Any]:
    for name in table:
        if name not in known:
            raise UnknownName("key", name, known, of=where)
    return table


def _typed(where: str, value: object, *kinds: type, secret: bool = False) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        wanted = "a text" if kinds == (str,) else "a whole number" if kinds == (int,) else "a number"
        raise UsageError(f"{where} must be {wanted}" + ("" if secret else f" (got {shown(value)})"))
    return value


def _name(kind: str, name: str) -> str:
    if not name or not NAMED_BY_CLIENTS.issuperset(name):
        raise UsageError(f"the {kind} {name!r:.80} must be of letters, digits, points, dashes and underscores")
    return name


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file, one on each line; empty lines and those that begin with # are comments.

    Raises:
        UsageError: it cannot be read, other users may read it, it holds no key, or one that does not fit.
    """
    lines = _text("--api-key-file", path).splitlines()
    _check_private("--api-key-file", path)
    keys = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    if not keys:
        raise UsageError(f"--api-key-file {path} holds no key: write one on each line")
    return tuple(Key.of(text, f"of line {number} of {path.name}") for number, text in keys)


def keys_in(variable: str, text: str) -> tuple[Key, ...]:
    """The keys of an environment variable, separated by commas or blanks.

    Raises:
        UsageError: one does not fit.
    """
    return tuple(Key.of(key, f"{number} of {variable}") for number, key in enumerate(text.replace(",", " ").split(), 1))
