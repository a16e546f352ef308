"""The settings of a server: a TOML file for aliases, verifiers, limits and keys."""

import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasoner.answers.kinds import AnswerKind
from reasoner.budget import Budget
from reasoner.errors import UsageError, require
from reasoner.registry import DEFAULT_VERIFIER, build
from reasoner.serving.bodies import MAX_BODY, problem_of
from reasoner.serving.choose import Alias, default_aliases
from reasoner.serving.limits import ApiKey
from reasoner.specs import Spec
from reasoner.system.files import read_whole
from reasoner.verifier import Verifier

MAX_BYTES: Final = 1 << 20
"""Bytes that a file of settings or keys may have."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
"""A name that clients write."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
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
    limits: ServerLimits = ServerLimits()
    keys: tuple[ApiKey, ...] = field(default=(), repr=False)


class _Table(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _AliasTable(_Table):
    strategy: str
    verifier: str = ""
    answer: str = ""
    budget: str = ""
    description: str = ""


class _LimitsTable(_Table):
    max_concurrent: int = 0
    queue: int = 0
    max_budget: str = ""
    body_bytes: int = 0
    body_seconds: float = 0.0


class _File(_Table):
    default: _AliasTable | None = None
    aliases: dict[Name, _AliasTable] = {}
    verifiers: dict[Name, str] = {}
    limits: _LimitsTable = _LimitsTable()
    keys: dict[str, Any] = {}


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
    where = ""
    try:
        file = _File.model_validate(table)
        aliases = default_aliases()
        for name, given in file.aliases.items():
            where = f"aliases.{name}: "
            aliases[name] = Alias.of(**given.model_dump())
        where = "default: "
        default = Alias.of(**file.default.model_dump()) if file.default else None
        where = "limits: "
        given_limits = file.limits.model_dump(exclude_unset=True)
        if "max_budget" in given_limits:
            given_limits["max_budget"] = Budget.parse(file.limits.max_budget)
        limits = ServerLimits(**given_limits)
        where = ""
        keys = tuple(ApiKey.of(text, name) for name, text in file.keys.items())
    except ValidationError as error:
        raise UsageError(f"{path}: {problem_of(error, _File).message}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {where}{error}") from error
    return Settings(default, aliases, file.verifiers, limits, keys)


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


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file, one on each line; empty lines and those that begin with # are comments.

    Raises:
        UsageError: it cannot be read, other users may read it, it holds no key, or one that does not fit.
    """
    lines = _text("--api-key-file", path).splitlines()
    _check_private("--api-key-file", path)
    keys = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    if not keys:
        raise UsageError(f"--api-key-file {path} holds no key: write one on each line")
    return tuple(ApiKey.of(text, f"of line {number} of {path.name}") for number, text in keys)


def keys_in(variable: str, text: str) -> tuple[ApiKey, ...]:
    """The keys of an environment variable, separated by commas or blanks.

    Raises:
        UsageError: one does not fit.
    """
    return tuple(
        ApiKey.of(key, f"{number} of {variable}") for number, key in enumerate(text.replace(",", " ").split(), 1)
    )


def choose_default(
    settings: Settings,
    *,
    strategy: str | None = None,
    verifier: str | None = None,
    budget: str | None = None,
    answer: str | None = None,
) -> tuple[Alias, Mapping[str, Verifier]]:
    """How requests are answered that choose nothing, and the verifiers by name; options go before the settings.

    Raises:
        UsageError: a strategy or a verifier is unknown, or the strategy would not use the verifier.
    """
    # Every server offers it: it needs no model, and no tokenizer.
    specs = {DEFAULT_VERIFIER: DEFAULT_VERIFIER, **settings.verifiers}
    # What the settings say of another strategy does not fit this one.
    default = Alias.of(strategy) if strategy is not None else settings.default or Alias.of()
    if budget is not None:
        default = replace(default, budget=Budget.parse(budget))
    if answer is not None:
        default = replace(default, answer=AnswerKind.parse(answer))
    if verifier is not None:
        if not default.strategy.uses_verifier:
            raise UsageError(f"--verifier {verifier} has no effect: the strategy would not use its scores; omit it")
        name = verifier if verifier in settings.verifiers else Spec.parse(verifier).name
        specs[name] = settings.verifiers.get(verifier, verifier)
        default = replace(default, verifier=name)
    return default, {name: build("verifier", spec) for name, spec in specs.items()}
