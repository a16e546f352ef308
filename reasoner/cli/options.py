"""The options that several commands have. Imports nothing slow: `--help` reads it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])


class CommandOption(click.Option):
    """An option with a `section` of the help; `several` says how several values are given, where one is not enough."""

    def __init__(
        self, *args: Any, section: str = "Output", several: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.section = section
        self.several = several

    def get_help_extra(self, ctx: click.Context) -> Any:
        """What follows the help; the text says the range of a number where that matters."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class ModelOption(CommandOption):
    """An option that names the model; its default is a variable of all commands, unless an engine is typed."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The variable of this command alone, such as REASONER_SOLVE_MODEL, or the one of all commands."""
        name = str(self.name).upper()
        return os.environ.get(f"{ctx.auto_envvar_prefix}_{name}") or os.environ.get(
            f"REASONER_{name}"
        )

    def value_from_envvar(self, ctx: click.Context) -> str | None:
        """The text of the variable."""
        return self.resolve_envvar_value(ctx)

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, Any]
    ) -> tuple[Any, ParameterSource]:
        """What was typed, else the variable."""
        value, source = super().consume_value(ctx, opts)
        if source is ParameterSource.ENVIRONMENT and opts.keys() & {
            "engine",
            "base_url",
        }:
            return None, ParameterSource.DEFAULT
        return value, source


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """A `CommandOption`."""
    return click.option(*declarations, cls=CommandOption, **attributes)


SPEC: Final = "NAME[:OPTION=VALUE,...]"
UNITS: Final = "UNIT=AMOUNT,..."
PATH: Final = click.Path(path_type=Path)
STANDARD: Final = Path("-")
"""Standard input, or standard output."""


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
SETTINGS = option(
    "--settings",
    type=PATH,
    metavar="FILE",
    section="Strategy",
    help="Strategy, verifier and model from `reasoner tune`. Typed options override them.  [default: reasoner.toml in "
    "this folder, else in ~/.config/reasoner]",
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


SAMPLES = option(
    "-n",
    "n",
    type=int,
    metavar="N",
    section="Strategy",
    help="Number of samples. Replaces n of the strategy.",
)
sampling_options = together(
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
    click.option(
        "-m",
        "--model",
        cls=ModelOption,
        metavar="PATH_OR_ID",
        section="Model",
        several="several models need a run each, and `reasoner compare`",
        help="Model: a folder, a Hugging Face id, or a server's id.  [default: the variable REASONER_MODEL; embedded]",
    ),
    click.option(
        "-e",
        "--engine",
        cls=ModelOption,
        metavar=SPEC,
        section="Model",
        help="Engine that runs the model, as in vllm, openai or simulated. `reasoner list engines` shows "
        "all.  [default: the variable REASONER_ENGINE; vllm, or openai with --base-url]",
    ),
    option(
        "--base-url",
        metavar="URL",
        section="Model",
        several="several servers of one model need a router before them",
        help="OpenAI-compatible server, as in http://localhost:8000/v1. Implies --engine openai.  [default: the "
        "variable REASONER_BASE_URL]",
    ),
)
"""The options that say which model runs where."""
PRICES = option(
    "--prices",
    metavar="KIND=USD,...",
    section="Model",
    help="US dollars per million tokens, as in prompt=0.15,cached=0.08,generated=0.60.",
)


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


BUDGET_UNITS: Final = "Units: tokens, generated, samples, seconds, usd"


def budget_option(of: str, *, several: bool = False) -> Callable[[F], F]:
    """The option of the most that one question, or a request, may spend; `several` budgets are an axis."""
    more = "; repeat the option for several, each a run of its own" if several else ""
    return option(
        "-b",
        "--budget",
        *["budgets"][: int(several)],
        multiple=several,
        metavar=UNITS,
        section="Strategy",
        help=f"Budget of {of}, as in 4k for tokens, or tokens=4k,seconds=30{more}. {BUDGET_UNITS}.  "
        "[default: no limit]",
    )


def total_option(*, several: bool = False) -> Callable[[F], F]:
    """The option of the most that all questions together may spend; `several` totals are an axis."""
    more = "; repeat the option for several" if several else ""
    return option(
        "--total",
        *["totals"][: int(several)],
        multiple=several,
        metavar=UNITS,
        section="Strategy",
        help=f"Budget of all questions together, as in 2m for tokens{more}. Hard questions get what easy ones leave.  "
        "[default: no limit]",
    )


def json_option(result: str) -> Callable[[F], F]:
    """The option that prints `result` as JSON."""
    return option("--json", "as_json", is_flag=True, help=f"Print {result} as JSON.")
