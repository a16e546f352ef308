"""The settings of a server: a TOML file for aliases, verifiers, limits and keys."""

import stat
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasoner.budget import Budget, Prices
from reasoner.errors import UsageError
from reasoner.registry import DEFAULT_VERIFIER, VOTE_VERIFIER, build
from reasoner.serving.choose import Alias, Offer, default_aliases
from reasoner.serving.requests import MAX_BODY, problem_of, read_as
from reasoner.specs import Spec
from reasoner.system.files import file_errors, read_settings_table

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
"""A name that clients write."""


class _Table(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ServerLimits(_Table):
    """What a server bounds.

    `max_concurrent` requests are answered at once, `queue` more wait. `max_budget` bounds each request. A body has at
    most `body_bytes`, and arrives within `body_seconds`. Open requests have `drain_seconds` to end when it stops.
    """

    max_concurrent: int = Field(default=256, ge=1)
    queue: int = Field(default=1024, ge=0)
    max_budget: Annotated[Budget, read_as(Budget.parse)] = Budget()
    body_bytes: int = Field(default=MAX_BODY, ge=1, le=MAX_BODY)
    body_seconds: float = Field(default=30.0, gt=0)
    drain_seconds: int = Field(default=30, ge=0, le=86_400)


class Settings(_Table):
    """What a file says of a server. `verifiers` are specs by the names that requests use.

    `model` has the options of the command that name the model. `tuned` is what `reasoner tune` found; nothing reads it.
    """

    default: Alias = Alias()
    aliases: dict[Name, Alias] = {}
    verifiers: dict[Name, str] = {}
    limits: ServerLimits = ServerLimits()
    keys: dict[str, Any] = Field(default={}, repr=False)
    model: dict[Literal["model", "engine", "base_url"], str] = {}
    tuned: dict[str, Any] = Field(default={}, repr=False)


def read_settings(path: Path) -> Settings:
    """The settings of a TOML file.

    Raises:
        UsageError: it cannot be read, has an unknown section or key or a value that does not fit, or holds keys that
            other users may read.
    """
    with file_errors(UsageError, f"cannot read --settings {path}"):
        table = read_settings_table(path)
        readable = path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    if "keys" in table and readable:
        raise UsageError(
            f"--settings {path} holds keys and can be read by others: run `chmod 600 {path}`"
        )
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"{path}: {problem_of(error, Settings).message}") from None


def make_offer(
    settings: Settings,
    prices: Prices | None = None,
    *,
    strategy: str | None = None,
    verifier: str | None = None,
) -> Offer:
    """What a server of these settings offers; the options go before the settings.

    Raises:
        UsageError: something in it is unknown, or its parts do not fit each other.
    """
    # What the settings say of another strategy does not fit this one.
    default = (
        settings.default
        if strategy is None
        else Alias(strategy=build("strategy", strategy))
    )
    # Every server offers these: they need no model, and no tokenizer.
    free = {spec: spec for spec in (DEFAULT_VERIFIER, VOTE_VERIFIER)}
    specs = {**free, **settings.verifiers}
    if verifier is not None:
        if not default.strategy.uses_verifier:
            raise UsageError(
                f"--verifier {verifier} has no effect: the strategy would not use its scores; omit it"
            )
        name = verifier if verifier in settings.verifiers else Spec.parse(verifier).name
        specs[name] = settings.verifiers.get(verifier, verifier)
        default = default.model_copy(update={"verifier": name})
    verifiers = {name: build("verifier", spec) for name, spec in specs.items()}
    offer = Offer(default, {**default_aliases(), **settings.aliases}, verifiers, prices)
    offer.check()
    return offer
