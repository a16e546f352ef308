"""The options that several commands have, and the objects that they describe."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from reasoner.errors import UsageError

if TYPE_CHECKING:
    from reasoner.budget import Budget, Prices
    from reasoner.engine import Engine
    from reasoner.registry import Kind
    from reasoner.specs import Spec
    from reasoner.strategy import Strategy
    from reasoner.verifier import Verifier

F = TypeVar("F", bound=Callable[..., Any])

SPEC: Final = "NAME[:OPTION=VALUE,...]"
PATH: Final = click.Path(path_type=Path)
VERIFIER = click.option(
    "--verifier", metavar=SPEC,
    help="The verifier that scores samples, for strategies that use one; `reasoner list verifiers` shows all.  "
         "[default: certainty]",
)  # fmt: skip
UNSANDBOXED = click.option(
    "--allow-unsandboxed-code", "unsandboxed", is_flag=True,
    help="Run code that the model wrote without a sandbox, where the machine offers none.",
)  # fmt: skip


def engine_options(command: F) -> F:
    """The options that say which model runs where, and what a token costs."""
    for option in (
        click.option("--prices", metavar="KIND=USD,...",
                     help="US dollars per million tokens, as in prompt=0.15,cached=0.08,generated=0.60."),
        click.option("--base-url", metavar="URL",
                     help="An OpenAI-compatible server, as in http://localhost:8000/v1; implies --engine openai."),
        click.option("-e", "--engine", metavar=SPEC,
                     help="The engine that runs the model, as in vllm, openai or simulated; `reasoner list engines` "
                          "shows all.  [default: vllm, or openai with --base-url]"),
        click.option("-m", "--model", metavar="PATH_OR_ID",
                     help="The model: a folder, a Hugging Face id, or the id that a server uses.  [default: embedded]"),
    ):  # fmt: skip
        command = option(command)
    return command


def json_option(result: str) -> Callable[[F], F]:
    """The option that prints `result` as JSON."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {result} as JSON.")


def _given(spec: "Spec", option: str, **flags: object) -> dict[str, object]:
    """Those of `flags` that have a value. Raises UsageError: the spec of `option` sets one of them too."""
    options = {name: value for name, value in flags.items() if value is not None}
    for name in spec.options.keys() & options.keys():
        raise UsageError(f"{flag(name)} and {name} of {option} set the same thing: keep one")
    return options


def flag(name: str) -> str:
    """A parameter's name as it is written on the command line."""
    return "--model" if name == "model_id" else f"--{name.replace('_', '-')}"


def choose_strategy(
    spec: str | None, *, effort: str | None = None, profile: str | None = None, abstain_below: float | None = None
) -> "Strategy":
    """The strategy of --strategy with the options of `auto`, which is the default where one of them is given.

    Raises:
        UsageError: it is unknown, has no such options, or sets one of them too.
    """
    from reasoner.registry import DEFAULT_STRATEGY, build
    from reasoner.specs import Spec

    options = {"effort": effort, "profile": profile, "abstain_below": abstain_below}
    default = DEFAULT_STRATEGY if all(value is None for value in options.values()) else "auto"
    chosen = Spec.parse(default if spec is None else spec)
    given = _given(chosen, "--strategy", **options)
    if given and chosen.name != "auto":
        raise UsageError(
            f"{flag(min(given))} is an option of the strategy auto, not of {chosen.name}: omit it or use -s auto"
        )
    strategy: Strategy = build("strategy", chosen, **given)
    return strategy


def choose_engine(spec: str | None, *, model_id: str | None = None, base_url: str | None = None) -> "Engine":
    """The engine of --engine with --model and --base-url; the latter implies openai where no engine is given.

    Raises:
        UsageError: it is unknown, has no such option, or sets it too.
    """
    from reasoner.registry import DEFAULT_ENGINE, build, load
    from reasoner.specs import Spec

    chosen = Spec.parse(spec or (DEFAULT_ENGINE if base_url is None else "openai"))
    given = _given(chosen, "--engine", model_id=model_id, base_url=base_url)
    if unknown := given.keys() - {field.name for field in fields(load("engine", chosen.name))}:
        raise UsageError(f"engine {chosen.name} takes no {flag(min(unknown))}: omit it")
    engine: Engine = build("engine", chosen, **given)
    return engine


def choose_verifier(
    spec: str | None, strategies: Sequence["Strategy"], engine: "Engine", *, unsandboxed: bool
) -> "Verifier | None":
    """The verifier of --verifier; by default the one that a profile was measured with, or else certainty.

    None where no strategy uses scores.

    Raises:
        UsageError: it is unknown, it is given and no strategy uses it, `unsandboxed` is given and it runs no code, or
            none is given and several were measured with.
    """
    from reasoner.execution.arguments import default_verifier
    from reasoner.registry import build, spec_of
    from reasoner.specs import Spec
    from reasoner.trace.history import RecordedEngine

    chosen = default_verifier(strategies) if spec is None else spec
    if unsandboxed and not runs_code("verifier", chosen):
        name = Spec.parse(chosen).name
        raise UsageError(f"--allow-unsandboxed-code has no effect: the verifier {name} runs no code; omit it")
    if not any(strategy.uses_verifier for strategy in strategies):
        if spec is not None:
            names = ", ".join(map(spec_of, strategies))
            raise UsageError(f"--verifier {spec} has no effect: {names} would not use its scores; omit it")
        return None
    if isinstance(engine, RecordedEngine):
        return engine.verifier()
    verifier: Verifier = build("verifier", chosen, **({"allow_unsandboxed": True} if unsandboxed else {}))
    return verifier


def runs_code(kind: "Kind", spec: str) -> bool:
    """Whether `spec` names something that runs code of a model, and can be allowed to do so without a sandbox.

    Raises:
        UsageError: there is nothing of that name.
    """
    from reasoner.registry import load
    from reasoner.specs import Spec

    cls = load(kind, Spec.parse(spec).name)
    return any(field.name == "allow_unsandboxed" for field in fields(cls))


def read_prices(text: str | None, budgets: Sequence["Budget"]) -> "Prices | None":
    """The prices of --prices, which a budget in dollars needs.

    Raises:
        UsageError: they are missing, a kind is unknown, given twice or missing, or an amount is not a number.
    """
    from reasoner.budget import Prices

    if text is None:
        if any(budget.usd is not None for budget in budgets):
            raise UsageError("budget usd needs prices: add --prices prompt=USD,generated=USD, per million tokens")
        return None
    return Prices.parse(text)
