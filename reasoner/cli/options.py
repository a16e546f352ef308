"""The options that several commands have, and the one place where their texts become objects."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from reasoner.cli.look import option
from reasoner.errors import UsageError

if TYPE_CHECKING:
    from reasoner.answers.questions import Question
    from reasoner.budget import Budget, Prices
    from reasoner.engine import Engine
    from reasoner.registry import Kind
    from reasoner.specs import Spec
    from reasoner.strategy import Strategy
    from reasoner.verifier import Verifier

F = TypeVar("F", bound=Callable[..., Any])

LISTS: Final = ("strategies", "verifiers", "engines", "tasks", "rules", "answers")
"""What `reasoner list` lists."""
SPEC: Final = "NAME[:OPTION=VALUE,...]"
UNITS: Final = "UNIT=AMOUNT,..."
PATH: Final = click.Path(path_type=Path)
STANDARD: Final = Path("-")
"""Standard input, or standard output."""


AUTO: Final = ("effort", "prefer", "profile", "risk", "abstain_below", "abstain_risk")
"""The options of the strategy auto."""
SYSTEM = option(
    "--system",
    metavar="TEXT",
    section="Question",
    help="System turn: instructions before the question.",
)
COLUMNS = option(
    "--columns",
    metavar="COLUMN:NAME,...",
    section="Data",
    help="Columns by their names in the file, as in question:prompt,answer:target,id:key.  [default: question, answer, "
    "id]",
)
VERIFIER = option(
    "--verifier",
    metavar=SPEC,
    section="Strategy",
    help="Verifier that scores samples, for strategies that use one. `reasoner list verifiers` shows all.  "
    "[default: certainty]",
)
UNSANDBOXED = option(
    "--allow-unsandboxed-code",
    "unsandboxed",
    is_flag=True,
    section="Strategy",
    help="Run model-written code without a sandbox if the machine has none.",
)
SEED = option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    section="Model",
    help="Random seed, 0 or more. The same seed gives the same run if the engine allows it.",
)
NO_SERVER = option(
    "--no-server",
    is_flag=True,
    section="Model",
    help="Start an engine here, even if a `reasoner serve` on this machine has one ready.",
)
QUIET = option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Print only errors on standard error: no progress, no summary.",
)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """These options, in this order."""

    def add(command: F) -> F:
        for each in reversed(options):
            command = each(command)
        return command

    return add


auto_options = together(
    option(
        "--effort",
        metavar="low|medium|high",
        section="Strategy",
        help="Accuracy target: about 5 (low), 2 (medium) or 1 (high) points below a full vote. Not guaranteed; "
        "--risk guarantees. Selects auto.  [default: medium, for auto]",
    ),
    option(
        "--risk",
        type=float,
        metavar="R",
        section="Strategy",
        help="Maximum loss of accuracy against a full vote, with 95 % confidence: 0.01 is one point. Selects auto; "
        "--profile makes it cheaper.",
    ),
    option(
        "--for",
        "prefer",
        metavar="tokens|latency",
        section="Strategy",
        help="Minimize total tokens (tokens) or waiting time (latency). Selects auto.  [default: tokens, for auto]",
    ),
    option(
        "--profile",
        metavar="FILE",
        section="Strategy",
        help="Profile that auto chooses by, written by `reasoner tune`. Selects auto.",
    ),
    option(
        "--abstain-below",
        type=float,
        metavar="P",
        section="Strategy",
        help="Minimum probability of being right, 0 to 1. Withholds less probable answers. Needs --profile.",
    ),
    option(
        "--abstain-risk",
        type=float,
        metavar="R",
        section="Strategy",
        help="Maximum share of wrong answers among those given, with 95 % confidence. Needs --profile.",
    ),
    VERIFIER,
    UNSANDBOXED,
)
"""The options of the strategy auto, and of the verifier."""
sampling_options = together(
    option(
        "-n",
        "n",
        type=int,
        metavar="N",
        section="Strategy",
        help="Number of samples. Replaces n of the strategy.",
    ),
    option(
        "--temperature",
        type=float,
        metavar="T",
        section="Strategy",
        help="Sampling temperature, 0 (greedy) to 10. Replaces temperature of the strategy.",
    ),
    option(
        "--max-tokens",
        type=int,
        metavar="N",
        section="Strategy",
        help="Maximum tokens per sample, including thinking.  [default: 512, or 32,768 for models that think]",
    ),
)
"""The options that replace those of the same meaning in the strategy."""
engine_options = together(
    option(
        "-m",
        "--model",
        metavar="PATH_OR_ID",
        section="Model",
        several="several models need --engine mixture, or a run each and `reasoner compare`",
        help="Model: a folder, a Hugging Face id, or a server's id.  [default: embedded]",
    ),
    option(
        "-e",
        "--engine",
        metavar=SPEC,
        section="Model",
        help="Engine that runs the model, as in vllm, openai or simulated. `reasoner list engines` shows "
        "all.  [default: vllm; openai with --base-url]",
    ),
    option(
        "--base-url",
        metavar="URL",
        section="Model",
        several="several servers of one model need a router before them, several models --engine mixture",
        help="OpenAI-compatible server, as in http://localhost:8000/v1. Implies --engine openai.",
    ),
    option(
        "--prices",
        metavar="KIND=USD,...",
        section="Model",
        help="US dollars per million tokens, as in prompt=0.15,cached=0.08,generated=0.60.",
    ),
)
"""The options that say which model runs where, and what a token costs."""


def thinking_option(*, several: bool = False) -> Callable[[F], F]:
    """The option of how much the model thinks; `several` levels are an axis."""
    levels = "Thinking level: none, low, medium, high, or a maximum number of tokens, as in 2k."
    if several:
        return option(
            "--thinking",
            metavar="LEVEL,...",
            section="Strategy",
            help=f"{levels} Several levels measure each.  [default: the model's own]",
        )
    return option(
        "--thinking",
        metavar="LEVEL",
        section="Strategy",
        help=f"{levels}  [default: the model's own]",
    )


def budget_option(*, together: bool = False) -> Callable[[F], F]:
    """The option of the most that one question may spend, or all questions `together`."""
    units = "Units: tokens, generated, samples, seconds, flops, usd"
    if together:
        text = f"Budget of all questions together, as in tokens=2m. Hard questions get what easy ones leave. {units}."
    else:
        text = (
            f"Budget of the question, as in tokens=4k,seconds=30. {units}, sequential."
        )
    return option(
        "-b",
        "--budget",
        metavar=UNITS,
        section="Strategy",
        help=f"{text}  [default: no limit]",
    )


def json_option(result: str) -> Callable[[F], F]:
    """The option that prints `result` as JSON."""
    return option("--json", "as_json", is_flag=True, help=f"Print {result} as JSON.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenOptions:
    """What was typed of the options of `solve`, `batch` and `serve`; None where one was left out."""

    strategy: str | None = None
    n: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    thinking: str | None = None
    effort: str | None = None
    prefer: str | None = None
    profile: str | None = None
    risk: float | None = None
    abstain_below: float | None = None
    abstain_risk: float | None = None
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
    no_server: bool = True
    """A server has an engine of its own, unless it serves one agent only."""

    @property
    def named_engine(self) -> dict[str, str]:
        """The options that name the model and where it runs, where they were given."""
        given = {name: getattr(self, name) for name in ("model", "engine", "base_url")}
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
        from reasoner.specs import Spec

        if self.columns is None:
            return ()
        [pairs] = Spec.parse(f"columns:names=[{self.columns}]").options.values()
        return tuple(map(str, pairs if isinstance(pairs, tuple) else (pairs,)))

    def to_strategy(self) -> "Strategy":
        """The strategy of --strategy with the other options; by default auto, where one of its options is given.

        Raises:
            UsageError: it is unknown, has no such options, or sets one of them too.
        """
        from reasoner.registry import DEFAULT_STRATEGY, build, expanded
        from reasoner.specs import Spec

        auto = {name: getattr(self, name) for name in AUTO}
        default = (
            DEFAULT_STRATEGY
            if all(value is None for value in auto.values())
            else "auto"
        )
        chosen = expanded(
            "strategy", Spec.parse(default if self.strategy is None else self.strategy)
        )
        given = _given(chosen, "--strategy", **auto)
        if given and chosen.name != "auto":
            raise UsageError(
                f"{flag(min(given))} is an option of the strategy auto, not of {chosen.name}: omit it or use -s auto"
            )
        chosen, missing = with_sampling(chosen, **self.sampling)
        check_sampling(missing, [chosen.name])
        strategy: Strategy = build("strategy", chosen, **given)
        return strategy

    def to_engine(self) -> "Engine":
        """The engine of --engine with --model and --base-url; the latter implies openai where no engine is given.

        Unless `no_server` is set, it is the same one in a server on this machine, if there is any.

        Raises:
            UsageError: it is unknown, has no such option, or sets it too.
        """
        from reasoner.registry import DEFAULT_ENGINE, build, load
        from reasoner.specs import Spec

        chosen = Spec.parse(
            self.engine or ("openai" if self.base_url else DEFAULT_ENGINE)
        )
        given = _given(chosen, "--engine", model_id=self.model, base_url=self.base_url)
        if unknown := given.keys() - {
            field.name for field in fields(load("engine", chosen.name))
        }:
            raise UsageError(
                f"engine {chosen.name} takes no {flag(min(unknown))}: omit it"
            )
        engine: Engine = build("engine", chosen, **given)
        if self.no_server:
            return engine
        from reasoner.engines.remote.warm import warm

        return warm(engine) or engine

    def to_verifier(
        self, strategies: Sequence["Strategy"], engine: "Engine"
    ) -> "Verifier | None":
        """The verifier of --verifier; by default the one that a profile was measured with, or else certainty.

        None where no strategy uses scores.

        Raises:
            UsageError: it is unknown, it is given and no strategy uses it, `unsandboxed` is set and it runs no code, or
                none is given and several were measured with.
        """
        from reasoner.execution.inputs import default_verifier
        from reasoner.registry import build, spec_of
        from reasoner.specs import Spec
        from reasoner.trace.history import RecordedEngine

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

    def to_question(self) -> "partial[Question]":
        """What makes a question of its text, with its kind of answer and the system turn.

        Raises:
            UsageError: the system turn is empty.
        """
        from reasoner.answers.questions import Question

        if self.system is not None and not self.system.strip():
            raise UsageError("--system is empty: omit it or give a text")
        return partial(
            Question.of, space=self.answer or "auto", system=self.system or ""
        )


def budget_of(text: str | None) -> "Budget":
    """The budget of an option; without a limit where it was left out. Raises UsageError."""
    from reasoner.budget import Budget

    return Budget() if text is None else Budget.parse(text)


def _given(spec: "Spec", option: str, **flags: object) -> dict[str, object]:
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
        "prefer": "--for",
        "strategies": "--strategy",
        "unsandboxed": "--allow-unsandboxed-code",
    }
    return special.get(name, f"--{name.replace('_', '-')}")


def with_sampling(spec: "Spec", **given: str | float | None) -> "tuple[Spec, set[str]]":
    """The strategy's spec with `n` and sampling options replaced where they are given, and which of them it lacks.

    Raises:
        UsageError: there is no such strategy.
    """
    from reasoner.registry import load, options_of
    from reasoner.registry import sampling_options as sampling_names
    from reasoner.specs import BareWord, Spec

    cls = load("strategy", spec.name)
    fields_of = options_of(cls)
    known = {name: name for name in fields_of if name == "n"}
    if "params" in fields_of:
        known |= {option: written for written, option in sampling_names(cls).items()}
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
    from reasoner.specs import Spec

    if not missing:
        return
    from reasoner.registry import load, options_of

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
            raise UsageError(
                "budget usd needs prices: add --prices prompt=USD,generated=USD, per million tokens"
            )
        return None
    return Prices.parse(text)
