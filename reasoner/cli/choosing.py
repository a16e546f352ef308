"""Reading of the options that commands share: how to spend, who runs the model, who rates, what a token costs."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from reasoner.errors import UsageError

if TYPE_CHECKING:
    from reasoner.budget import Budget, Prices
    from reasoner.catalog import Kind
    from reasoner.protocols import Engine, Strategy, Verifier

DEFAULT_ENGINE = "vllm"
DEFAULT_STRATEGY = "self_consistency"
DEFAULT_VERIFIER = "certainty"


def choose_strategy(
    spec: str | None, *, effort: str | None = None, profile: str | None = None, abstain_below: float | None = None
) -> "Strategy":
    """The strategy of --strategy, with what the options of `auto` add; these choose it where none is named.

    Raises:
        UsageError: it is unknown, is not `auto` and told what only that takes, or is told the same thing twice.
    """
    from reasoner.catalog import build
    from reasoner.specs import Spec

    common = {"effort": effort, "profile": profile, "abstain_below": abstain_below}
    given = {option: value for option, value in common.items() if value is not None}
    chosen = ("auto" if given else DEFAULT_STRATEGY) if spec is None else spec
    parsed = Spec.parse(chosen)
    for option in given:
        flag = f"--{option.replace('_', '-')}"
        if parsed.name != "auto":
            raise UsageError(
                f"{flag} is an option of the strategy auto: leave it out, or choose -s auto, not {parsed.name}"
            )
        if option in parsed.options:
            raise UsageError(f"{flag} and {option} of --strategy say the same thing: keep one")
    strategy: Strategy = build("strategy", parsed, **given)
    return strategy


def choose_engine(spec: str | None, *, model_id: str | None = None, base_url: str | None = None) -> "Engine":
    """The engine of --engine, with what --model and --base-url add; without one a server where --base-url names it.

    Raises:
        UsageError: it is unknown, takes no such option, or is told the same thing twice.
    """
    from reasoner.catalog import build, load
    from reasoner.specs import Spec

    parsed = Spec.parse(spec or (DEFAULT_ENGINE if base_url is None else "openai"))
    options = {field.name for field in fields(load("engine", parsed.name))}
    flags = {"model_id": "--model", "base_url": "--base-url"}
    common = {"model_id": model_id, "base_url": base_url}
    given = {option: value for option, value in common.items() if value is not None}
    for option in given:
        if option not in options:
            raise UsageError(f"engine {parsed.name} takes no {flags[option]}: leave it out")
        if option in parsed.options:
            raise UsageError(f"{flags[option]} and {option} of --engine say the same thing: keep one")
    engine: Engine = build("engine", parsed, **given)
    return engine


def choose_verifier(
    spec: str | None, strategies: Sequence["Strategy"], engine: "Engine", *, unsandboxed: bool
) -> "Verifier | None":
    """The verifier of --verifier, by default the one that a profile was measured with, or else certainty.

    None where no strategy asks for scores.

    Raises:
        UsageError: it is unknown, one was given that nobody asks, `unsandboxed` for one that runs no code, or none was
            given where several were measured with.
    """
    from reasoner.catalog import build, spec_of
    from reasoner.protocols import Recorded
    from reasoner.specs import Spec

    named = _measured_with(strategies) if spec is None else spec
    if unsandboxed and not runs_code("verifier", named):
        name = Spec.parse(named).name
        raise UsageError(f"--allow-unsandboxed-code has no effect: the verifier {name} runs no code; leave it out")
    if not any(strategy.uses_verifier for strategy in strategies):
        if spec is not None:
            asking = "asks" if len(strategies) == 1 else "ask"
            who = ", ".join(map(spec_of, strategies))
            raise UsageError(f"--verifier {spec} has no effect: {who} {asking} for no scores; leave it out")
        return None
    if isinstance(engine, Recorded):
        return engine.verifier()
    verifier: Verifier = build("verifier", named, **({"allow_unsandboxed": True} if unsandboxed else {}))
    return verifier


def another_model(strategy: "Strategy", engine: "Engine") -> str:
    """What to tell a person where a strategy was calibrated on another model than the engine's; empty where not."""
    from reasoner.protocols import Confident

    seen = strategy.measured_on if isinstance(strategy, Confident) else None
    if seen is None or seen.model == engine.model.name:
        return ""
    return (
        f"the profile is of {seen.model}, and this is {engine.model.name}: what it says of one need not hold of another"
    )


def _measured_with(strategies: Sequence["Strategy"]) -> str:
    measured = {verifier for strategy in strategies for verifier in getattr(strategy, "verifiers", ())}
    if len(measured) > 1:
        raise UsageError(f"the profile was measured with {' and '.join(sorted(measured))}: choose one with --verifier")
    return measured.pop() if measured else DEFAULT_VERIFIER


def runs_code(kind: "Kind", spec: str) -> bool:
    """Whether what `spec` names runs code that a model wrote, so that it may be allowed to do so without a sandbox.

    Raises:
        UsageError: there is nothing of that name.
    """
    from reasoner.catalog import load
    from reasoner.specs import Spec

    cls = load(kind, Spec.parse(spec).name)
    return any(field.name == "allow_unsandboxed" for field in fields(cls))


def read_prices(text: str) -> "Prices":
    """The prices of --prices.

    Raises:
        UsageError: an unknown kind, one given twice or missing, or an amount that is no number.
    """
    from reasoner.budget import Prices
    from reasoner.errors import UnknownName

    known = tuple(field.name for field in fields(Prices))
    given: dict[str, float] = {}
    for part in text.split(","):
        kind, _, amount = (piece.strip() for piece in part.partition("="))
        if kind not in known:
            raise UnknownName("price", kind, known)
        if kind in given:
            raise UsageError(f"price {kind} is given twice: keep one")
        try:
            given[kind] = float(amount)
        except ValueError as error:
            raise UsageError(f"price {kind}={amount!r} is not a number: give dollars per million tokens") from error
    if missing := {"prompt", "generated"} - given.keys():
        raise UsageError(f"--prices needs {' and '.join(sorted(missing))} too, in dollars per million tokens")
    return Prices(**given)


def check_prices(budgets: Sequence["Budget"], prices: "Prices | None") -> None:
    """A budget in dollars needs prices.

    Raises:
        UsageError: there are none.
    """
    if prices is None and any(budget.usd is not None for budget in budgets):
        raise UsageError("budget usd needs prices: add --prices prompt=USD,generated=USD, per million tokens")
