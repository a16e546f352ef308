"""Commands, and what their help looks like."""

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import click

from reasoner.cli.terminal import wrapped

SECTIONS: Final = ("Question", "Data", "Server", "Strategy", "Model", "Output")
"""The sections of the options, in their order."""
HEADINGS: Final = ("Answer", "Measure", "Serve", "Look", "Set up", "Others")
"""The groups of commands, in their order; a command that names none is in the last."""

LISTS: Final = ("strategies", "verifiers", "engines", "tasks", "rules", "answers")
"""What `reasoner list` lists."""


class _Formatter(click.HelpFormatter):
    """Help down to 40 columns; where it is narrow, the meaning of an option is below its name."""

    def __init__(
        self,
        indent_increment: int = 2,
        width: int | None = None,
        max_width: int | None = None,
    ) -> None:
        # Longer lines are hard to read.
        columns = min(shutil.get_terminal_size().columns, max_width or 100)
        super().__init__(indent_increment, width or max(columns, 40) - 2, max_width)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The command and its arguments."""
        start, indent = f"{prefix or 'Usage: '}{prog} ", 2 * self.indent_increment
        # Columns beside the name of a command that its arguments need
        if len(start) + 20 <= self.width:
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


class _Listed(click.Command):
    """A command that is listed under a heading."""

    context_class = _Context

    def __init__(self, *args: Any, heading: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class Command(_Listed):
    """A command whose help lists its options by their sections."""

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


class Group(_Listed, click.Group):
    """A command of several."""

    command_class = Command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """All commands, with the whole first sentence of each, by their headings if there are several."""
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for name in self.list_commands(ctx):
            if command := self.get_command(ctx, name):
                heading = getattr(command, "heading", "") or HEADINGS[-1]
                groups.setdefault(heading, []).append(
                    (name, command.get_short_help_str(sys.maxsize))
                )
        listed = {heading: rows for heading, rows in groups.items() if rows}
        for heading, rows in listed.items():
            with formatter.section(heading if len(listed) > 1 else "Commands"):
                formatter.write_dl(rows)

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
            is_list = (each.metavar or "").endswith(",...")
            how = getattr(each, "several", "") or (
                is_list and "join its values with a comma"
            )
            context.fail(
                f"{max(each.opts, key=len)} is given {times} times: give it once{how and f'; {how}'}"
            )
