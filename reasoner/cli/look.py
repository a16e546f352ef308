"""What help looks like: `-h` shows the options that most people use on one screen, `--help-all` shows all in groups."""

import shutil
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

MAX_WIDTH: Final = 100
MIN_WIDTH: Final = 40
STACKED: Final = 78
"""Columns below which the meaning of an option is below its name."""
SECTIONS: Final = ("Question", "Data", "Server", "Strategy", "Model", "Output")
"""The sections of the long help, in their order."""


class _Formatter(click.HelpFormatter):
    """Help down to 40 columns; where it is narrow, the meaning of an option is below its name."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        columns = min(shutil.get_terminal_size().columns, max_width or MAX_WIDTH)
        super().__init__(indent_increment, width or max(columns, MIN_WIDTH) - 2, max_width)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, col_max if self.width >= STACKED else 2, col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


def laid_out(command: click.Command) -> click.Command:
    """The command; its help, and that of its commands, is laid out as here."""
    command.context_class = _Context
    for inner in getattr(command, "commands", {}).values():
        laid_out(inner)
    return command


class CommandOption(click.Option):
    """An option with a `section` of the help.

    `brief` is its line in the short help, without which only --help-all shows it.
    """

    def __init__(self, *args: Any, section: str = "Output", brief: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section
        self.brief = brief


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """A `CommandOption`."""
    return click.option(*declarations, cls=CommandOption, **attributes)


class Command(click.Command):
    """A command with a short and a long help; its docstring up to the first blank line belongs to both."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The option of the short help."""
        known = super().get_help_option(ctx)
        if known is not None:
            known.help = "Show the most used options and exit."
        return known

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its parameters, and --help-all."""
        return [*super().get_params(ctx), _HELP_ALL]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The short help, or after --help-all the long one."""
        if ctx.meta.get(_LONG):
            super().format_help(ctx, formatter)
            return
        self.format_usage(ctx, formatter)
        with formatter.indentation():
            formatter.write_paragraph()
            formatter.write_text((self.help or "").partition("\n\n")[0])
        briefs = [(*_names(each), each.brief) for each in self.params if isinstance(each, CommandOption) and each.brief]
        rows = [(names, text) for names, _, text in briefs]
        rows.append(("-h, --help-all", "Show this message; with --help-all, every option and the exit codes."))
        with formatter.section("Most used options"):
            formatter.write_dl(rows)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """All options by their sections."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in SECTIONS}
        for each in self.get_params(ctx):
            if isinstance(each, click.Option) and (record := each.get_help_record(ctx)):
                sections.setdefault(getattr(each, "section", "Output"), []).append(record)
        for section, records in ((name, records) for name, records in sections.items() if records):
            with formatter.section(section):
                formatter.write_dl(records)


_LONG: Final = "reasoner.cli.look.long"


def _show_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[_LONG] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


_HELP_ALL: Final = CommandOption(
    ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, allow_from_autoenv=False,
    help="Show every option and exit.",
)  # fmt: skip


def _names(option: click.Option) -> tuple[str, str]:
    """An option as the short help writes it, and its value."""
    value = option.metavar if not option.is_flag and option.metavar else ""
    value = value.partition("[")[0].partition(",")[0] if len(value) > 12 else value
    return f"{', '.join(option.opts)}{f' {value}' if value else ''}", value
