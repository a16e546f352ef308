"""What was typed on the command line or stands in settings, and the one place where its texts become objects."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from reasoner.answers.questions import Question
from reasoner.budget import Budget, Prices
from reasoner.engine import Engine
from reasoner.errors import UsageError, shown
from reasoner.execution.inputs import default_verifier
from reasoner.registry import (
    DEFAULT_ENGINE,
    DEFAULT_STRATEGY,
    Kind,
    build,
    build_checked,
    expanded,
    load,
    options_of,
    sampling_options,
    spec_of,
    with_files,
)
from reasoner.specs import BareWord, OwnerOnly, Spec, marks_of
from reasoner.strategy import Strategy
from reasoner.system.files import read_settings_table
from reasoner.trace.history import RecordedEngine
from reasoner.verifier import Verifier

ADDRESS_VARIABLE: Final = "REASONER_BASE_URL"
"""The variable that holds the default of --base-url."""
FOUND: Final = "reasoner.toml"
MODEL: Final = ("model", "engine", "base_url")
"""The options that name the model; settings give all of them or none."""
_KINDS: Final[Mapping[str, Kind]] = {
    "strategy": "strategy",
    "strategies": "strategy",
    "verifier": "verifier",
    "tasks": "task",
    "task": "task",
}
"""The typed options that may name a class of a file, and the kind of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenOptions:
    """What was typed of the options of `solve`, `batch` and `serve`; None where one was left out."""

    strategy: str | None = None
    n: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    thinking: str | None = None
    verifier: str | None = None
    unsandboxed: bool = False
    budget: str | None = None
    answer: str | None = None
    system: str | None = None
    columns: str | None = None
    model: str | None = None
    engine: str | None = None
    base_url: str | None = None
    prices: str | None = None
    seed: int = 0
    quiet: bool = False

    @property
    def named_engine(self) -> dict[str, str]:
        """The options that name the model and where it runs, where they were given."""
        given = {name: getattr(self, name) for name in MODEL}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def sampling(self) -> dict[str, str | float | None]:
        """The options that replace those of the same meaning in the strategy."""
        return {
            name: getattr(self, name)
            for name in ("n", "temperature", "max_tokens", "thinking")
        }

    @property
    def column_pairs(self) -> tuple[str, ...]:
        """The pairs of --columns. Raises UsageError: they are no list."""
        if self.columns is None:
            return ()
        [pairs] = Spec.parse(f"columns:names=[{self.columns}]").options.values()
        return tuple(map(str, pairs if isinstance(pairs, tuple) else (pairs,)))

    def to_strategy(self) -> Strategy:
        """The strategy of --strategy with the options of sampling.

        Raises:
            UsageError: it is unknown, or has no such options.
        """
        named = DEFAULT_STRATEGY if self.strategy is None else self.strategy
        chosen = expanded("strategy", Spec.parse(named))
        chosen, missing = with_sampling(chosen, **self.sampling)
        check_sampling(missing, [chosen.name])
        strategy: Strategy = build("strategy", chosen)
        return strategy

    def to_engine(self) -> Engine:
        """The engine of --engine with --model and --base-url; the latter implies openai where no engine is given.

        The variable REASONER_BASE_URL is the default of --base-url, unless another engine is named. Where nothing names
        a model, the file of `found_settings` does.

        Raises:
            UsageError: it is unknown, has no such option, or sets it too.
        """
        unnamed = not (self.named_engine or server_address())
        if unnamed and (model := _table(*found_settings(), "model")):
            changes: dict[str, Any] = {**model}
            return replace(self, **changes).to_engine()
        named = Spec.parse(self.engine) if self.engine else None
        address = self.base_url
        if address is None and (
            named is None
            or (named.name == "openai" and "base_url" not in named.options)
        ):
            address = server_address()
        chosen = named or Spec("openai" if address else DEFAULT_ENGINE, {})
        given = _given(chosen, "--engine", model_id=self.model, base_url=address)
        if unknown := given.keys() - {
            field.name for field in fields(load("engine", chosen.name))
        }:
            raise UsageError(
                f"engine {chosen.name} takes no {flag(min(unknown))}: omit it"
            )
        engine: Engine = build("engine", chosen, **given)
        return engine

    def to_verifier(
        self, strategies: Sequence[Strategy], engine: Engine
    ) -> Verifier | None:
        """The verifier of --verifier; by default the one that a profile was measured with, or else certainty.

        None where no strategy uses scores.

        Raises:
            UsageError: it is unknown, it is given and no strategy uses it, `unsandboxed` is set and it runs no code, or
                none is given and several were measured with.
        """
        chosen = (
            default_verifier(strategies) if self.verifier is None else self.verifier
        )
        if self.unsandboxed and not runs_code("verifier", chosen):
            name = Spec.parse(chosen).name
            raise UsageError(
                f"--allow-unsandboxed-code has no effect: the verifier {name} runs no code; omit it"
            )
        if not any(strategy.uses_verifier for strategy in strategies):
            if self.verifier is not None:
                names = ", ".join(map(spec_of, strategies))
                raise UsageError(
                    f"--verifier {chosen} has no effect: {names} would not use its scores; omit it"
                )
            return None
        if isinstance(engine, RecordedEngine):
            return engine.verifier()
        verifier: Verifier = build(
            "verifier",
            chosen,
            **({"allow_unsandboxed": True} if self.unsandboxed else {}),
        )
        return verifier

    def to_question(self) -> partial[Question]:
        """What makes a question of its text, with its kind of answer and the system turn.

        Raises:
            UsageError: the system turn is empty.
        """
        if self.system is not None and not self.system.strip():
            raise UsageError("--system is empty: omit it or give a text")
        return partial(
            Question.of, space=self.answer or "auto", system=self.system or ""
        )


def server_address() -> str | None:
    """The address in the variable; None where it is empty or not set."""
    return os.environ.get(ADDRESS_VARIABLE) or None


def settled(settings: Path | None, typed: dict[str, Any]) -> dict[str, Any]:
    """The typed options, completed by the settings.

    A typed strategy leaves out the verifier and the budget of the settings; a typed model, engine or address leaves out
    their model. The strategy auto has their profile, unless another one, or a model, is typed.

    Raises:
        UsageError: the file cannot be read or is not one of settings.
    """
    typed = with_own_files(typed)
    settings, table = (
        (settings, read_settings_table(settings)) if settings else found_settings()
    )
    default, verifiers, model = (
        _table(settings, table, name) for name in ("default", "verifiers", "model")
    )
    filled = dict(typed)
    several = "strategies" in typed
    name = "strategies" if several else "strategy"
    if not typed[name] and "strategy" in default:
        filled[name] = (default["strategy"],) if several else default["strategy"]
        limit = "budgets" if several else "budget"
        if not typed[limit] and "budget" in default:
            filled[limit] = (default["budget"],) if several else default["budget"]
        verifier = default.get("verifier")
        if typed["verifier"] is None and verifier:
            filled["verifier"] = verifiers.get(verifier, verifier)
    tuned = table.get("tuned")
    profile = tuned.get("profile") if isinstance(tuned, dict) else None
    if profile and not several and not _names_model(typed):
        filled["strategy"] = _profiled(
            filled["strategy"], settings.parent / str(profile)
        )
    return with_model(filled, model)


def with_own_files(typed: Mapping[str, Any]) -> dict[str, Any]:
    """The typed options, with classes of the user's own files by their names: see `reasoner.registry.with_files`."""
    filled, kinds = dict(typed), _KINDS.keys() & typed.keys()
    for name in kinds:
        read, given = partial(with_files, _KINDS[name]), typed[name]
        filled[name] = (
            tuple(map(read, given))
            if isinstance(given, tuple)
            else given and read(given)
        )
    return filled


def found_settings() -> tuple[Path, dict[str, Any]]:
    """The settings of a user who names none, with their path: `reasoner.toml` in this folder, else the user's own.

    Raises:
        UsageError: the file cannot be read; or the folder's, which somebody else may have written, sets more than a
            client of a server may: an address, code, or an engine or a verifier with options.
    """
    here, own = Path(FOUND), Path(click.get_app_dir("reasoner")) / FOUND
    path = here if here.exists() else own
    if not path.exists():
        return path, {}
    table = read_settings_table(path)
    if path is own:
        return path, table
    default, model = (_table(path, table, name) for name in ("default", "model"))
    plain = {**model, "verifier": default.get("verifier", "")}
    plain.pop("model", "")
    if (
        "verifiers" in table
        or "base_url" in model
        or not all(re.fullmatch(r"\w*", text) for text in plain.values())
    ):
        raise UsageError(
            f"{path} names an address, or an engine or verifier with options: give it as --settings {path} if it is "
            f"yours, or move it to {own}"
        )

    def check(cls: type, option: str) -> None:
        if isinstance(marks_of(cls).get(option), OwnerOnly):
            raise UsageError(
                f"{path} may not set {option}: give it as --settings {path} if it is yours"
            )

    build_checked("strategy", default.get("strategy", DEFAULT_STRATEGY), check)
    return path, table


def _profiled(strategy: str | None, profile: Path) -> str | None:
    """A strategy; auto with this profile, unless it names one."""
    if strategy is None:
        return None
    chosen = expanded("strategy", strategy)
    if chosen.name != "auto":
        return strategy
    return str(Spec("auto", {"profile": str(profile), **chosen.options}))


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


def budget_of(text: str | None) -> Budget:
    """The budget of an option; without a limit where it was left out. Raises UsageError."""
    return Budget() if text is None else Budget.parse(text)


def _given(spec: Spec, option: str, **flags: object) -> dict[str, object]:
    """Those of `flags` that have a value. Raises UsageError: the spec of `option` sets one of them too."""
    options = {name: value for name, value in flags.items() if value is not None}
    for name in spec.options.keys() & options.keys():
        raise UsageError(
            f"{flag(name)} and {name} of {option} set the same thing: keep one"
        )
    return options


def flag(name: str) -> str:
    """A parameter's name as it is written on the command line."""
    special = {
        "model_id": "--model",
        "n": "-n",
        "strategies": "--strategy",
        "unsandboxed": "--allow-unsandboxed-code",
    }
    return special.get(name, f"--{name.replace('_', '-')}")


def with_sampling(spec: Spec, **given: str | float | None) -> tuple[Spec, set[str]]:
    """The strategy's spec with `n` and sampling options replaced where they are given, and which of them it lacks.

    Raises:
        UsageError: there is no such strategy.
    """
    cls = load("strategy", spec.name)
    fields_of = options_of(cls)
    known = {name: name for name in fields_of if name == "n"}
    if "params" in fields_of:
        known |= {option: written for written, option in sampling_options(cls).items()}
    wanted = {name: value for name, value in given.items() if value is not None}
    changed = {
        known[name]: BareWord(value) for name, value in wanted.items() if name in known
    }
    return Spec(spec.name, {**spec.options, **changed}), wanted.keys() - known


def check_sampling(missing: Collection[str], strategies: Sequence[str]) -> None:
    """Refuse options of sampling that no strategy has.

    Raises:
        UsageError: there are some; the message names the options that the first strategy has.
    """
    if not missing:
        return
    name, first = min(missing), Spec.parse(strategies[0]).name
    own = ", ".join(
        option
        for option in list(options_of(load("strategy", first)))[:6]
        if option != "params"
    )
    also = f"; {first} has {own}" if own else ""
    which = " and ".join(strategies)
    raise UsageError(
        f"{flag(name)} has no effect: {which} has no option {name}: omit it, or use another strategy{also}"
    )


def runs_code(kind: Kind, spec: str) -> bool:
    """Whether `spec` names something that runs code of a model, and can be allowed to do so without a sandbox.

    Raises:
        UsageError: there is nothing of that name.
    """
    cls = load(kind, Spec.parse(spec).name)
    return any(field.name == "allow_unsandboxed" for field in fields(cls))


def read_prices(text: str | None, budgets: Sequence[Budget]) -> Prices | None:
    """The prices of --prices, which a budget in dollars needs.

    Raises:
        UsageError: they are missing, a kind is unknown, given twice or missing, or an amount is not a number.
    """
    if text is None:
        if any(budget.usd is not None for budget in budgets):
            raise UsageError(
                "budget usd needs prices: add --prices prompt=USD,generated=USD, per million tokens"
            )
        return None
    return Prices.parse(text)
