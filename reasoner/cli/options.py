"""The options that several commands have, and what help looks like. Imports nothing slow: `--help` reads it."""

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from reasoner.cli.terminal import wrapped

F = TypeVar("F", bound=Callable[..., Any])

MAX_WIDTH: Final = 100
LEAST: Final = 20
"""Columns beside the name of a command that its arguments need."""
SECTIONS: Final = ("Question", "Data", "Server", "Strategy", "Model", "Output")
"""The sections of the options, in their order."""
HEADINGS: Final = ("Answer", "Measure", "Serve", "Look", "Set up", "Others")
"""The groups of commands, in their order; a command that names none is in the last."""


class _Formatter(click.HelpFormatter):
    """Help down to 40 columns; where it is narrow, the meaning of an option is below its name."""

    def __init__(
        self,
        indent_increment: int = 2,
        width: int | None = None,
        max_width: int | None = None,
    ) -> None:
        columns = min(shutil.get_terminal_size().columns, max_width or MAX_WIDTH)
        super().__init__(indent_increment, width or max(columns, 40) - 2, max_width)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The command and its arguments."""
        start, indent = f"{prefix or 'Usage: '}{prog} ", 2 * self.indent_increment
        if len(start) + LEAST <= self.width:
            self.write(wrapped(args, len(start), start, self.width) + "\n")
        else:
            self.write(f"{start.rstrip()}\n{wrapped(args, indent, width=self.width)}\n")

    def write_text(self, text: str) -> None:
        """Paragraphs; one that begins with a backspace in a line of its own keeps its lines."""
        paragraphs = (paragraph.strip("\n") for paragraph in text.split("\n\n"))
        self.write("\n\n".join(map(self._paragraph, filter(None, paragraphs))) + "\n")

    def _paragraph(self, text: str) -> str:
        first, _, rest = text.partition("\n")
        if first.strip() == "\b":
            return textwrap.indent(rest, " " * self.current_indent)
        return wrapped(
            " ".join(text.split("\n")), self.current_indent, width=self.width
        )

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Terms with their meanings."""
        listed, start = list(rows), self.current_indent
        widest = min(
            max(len(term) for term, _ in listed),
            # Columns below which the meaning of an option is below its name
            col_max if self.width >= 78 else self.indent_increment,
        )
        for term, meaning in listed:
            label = f"{'':{start}}{term}"
            if len(term) > widest:
                self.write(f"{wrapped(term, start, width=self.width)}\n")
                label = ""
            self.write(
                wrapped(meaning, start + widest + col_spacing, label, self.width) + "\n"
            )


class _Context(click.Context):
    formatter_class = _Formatter


def laid_out(command: click.Command) -> click.Command:
    """The command; its help and its commands' help are laid out as here."""
    command.context_class = _Context
    for inner in getattr(command, "commands", {}).values():
        laid_out(inner)
    return command


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


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """A `CommandOption`."""
    return click.option(*declarations, cls=CommandOption, **attributes)


class Group(click.Group):
    """A command of several, listed under a heading."""

    def __init__(self, *args: Any, heading: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """All commands, with the whole first sentence of each, by their headings if there are several."""
        named = (
            (name, self.get_command(ctx, name)) for name in self.list_commands(ctx)
        )
        groups = by_heading((name, command) for name, command in named if command)
        for heading, listed in groups.items():
            with formatter.section(heading if len(groups) > 1 else "Commands"):
                formatter.write_dl(
                    [
                        (name, command.get_short_help_str(sys.maxsize))
                        for name, command in listed
                    ]
                )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, unless one of its options is given too often."""
        name, command, rest = super().resolve_command(ctx, args)
        if command and not ctx.resilient_parsing:
            _check_given_once(
                command.context_class(command, ctx, name, **command.context_settings),
                rest,
            )
        return name, command, rest


def _check_given_once(context: click.Context, arguments: list[str]) -> None:
    """Refuse an option that has one value and is given several: click would take the last one silently."""
    *_, given = context.command.make_parser(context).parse_args(list(arguments))
    for each, times in Counter(given).items():
        if (
            isinstance(each, click.Option)
            and times > 1
            and not (each.multiple or each.count or each.is_flag)
        ):
            listed = (
                "join its values with a comma"
                if (each.metavar or "").endswith(",...")
                else ""
            )
            how = getattr(each, "several", "") or listed
            context.fail(
                f"{max(each.opts, key=len)} is given {times} times: give it once{how and f'; {how}'}"
            )


def by_heading(
    commands: Iterable[tuple[str, click.Command]],
) -> dict[str, list[tuple[str, click.Command]]]:
    """Commands with their names by the heading that each has."""
    groups: dict[str, list[tuple[str, click.Command]]] = {
        heading: [] for heading in HEADINGS
    }
    for name, command in commands:
        groups.setdefault(getattr(command, "heading", "") or HEADINGS[-1], []).append(
            (name, command)
        )
    return {heading: listed for heading, listed in groups.items() if listed}


class Command(click.Command):
    """A command whose help lists its options by their sections, and that is listed itself under a heading."""

    def __init__(self, *args: Any, heading: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """All options by their sections; without sections but the last, in one list as they were declared."""
        listed = [
            (each, each.get_help_record(ctx))
            for each in self.get_params(ctx)
            if isinstance(each, click.Option)
        ]
        own = [
            (getattr(each, "section", SECTIONS[-1]), record)
            for each, record in listed
            if record
        ]
        used = [name for name in SECTIONS if any(name == section for section, _ in own)]
        for name in used:
            with formatter.section(name if len(used) > 1 else "Options"):
                formatter.write_dl(
                    [record for section, record in own if section == name]
                )


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
SETTINGS = option(
    "--settings",
    type=PATH,
    metavar="FILE",
    section="Strategy",
    help="Strategy, verifier and model from `reasoner tune`. Typed options override them.",
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
