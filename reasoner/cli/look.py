"""What help looks like: `-h` shows the options that most people use on one screen, `--help-all` shows all in groups."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from reasoner.errors import MAX_SHOWN, shown

F = TypeVar("F", bound=Callable[..., Any])

MAX_WIDTH: Final = 100
SECTIONS: Final = ("Question", "Data", "Server", "Strategy", "Model", "Output")
"""The sections of the long help, in their order."""


class _Whole(click.types.IntParamType):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_ascii(self, value, param, ctx), param, ctx)


class _Number(click.types.FloatParamType):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_ascii(self, value, param, ctx), param, ctx)


def _ascii(kind: "click.ParamType[Any]", value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    """The value, unless it is too long, or has digits of another script, which Python reads and a person may not."""
    if isinstance(value, str) and not (value.isascii() and len(value) <= MAX_SHOWN):
        kind.fail(f"{shown(value)} is not a valid {kind.name}", param, ctx)
    return value


WHOLE: Final = _Whole()
NUMBER: Final = _Number()
"""The types of options that are numbers."""


class Option(click.Option):
    """An option with a `section` of the help.

    `brief` is its line in the short help, without which only --help-all shows it.
    """

    def __init__(self, *args: Any, section: str = "Output", brief: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section
        self.brief = brief


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """An `Option`."""
    return click.option(*declarations, cls=Option, **attributes)


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
        briefs = [(*_names(each), each.brief) for each in self.params if isinstance(each, Option) and each.brief]
        rows = [(names, text) for names, _, text in briefs]
        rows.append(("-h, --help-all", "Show this message; with --help-all, every option and the exit codes."))
        with formatter.section("Most used options"):
            formatter.write_dl(rows)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """All options by their sections."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in SECTIONS}
        for each in self.get_params(ctx):
            if record := each.get_help_record(ctx):
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


_HELP_ALL: Final = Option(
    ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, allow_from_autoenv=False,
    help="Show every option and exit.",
)  # fmt: skip


def _names(option: click.Option) -> tuple[str, str]:
    """An option as the short help writes it, and its value."""
    value = option.metavar if not option.is_flag and option.metavar else ""
    value = value.partition("[")[0].partition(",")[0] if len(value) > 12 else value
    return f"{', '.join(option.opts)}{f' {value}' if value else ''}", value
