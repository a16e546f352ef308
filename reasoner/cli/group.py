"""The commands as one, and what goes wrong in reading a command line as one line."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import EntryPoints

import click

from reasoner.aliases import COMMAND_OPTIONS
from reasoner.cli.exits import OTHER, error_line
from reasoner.cli.terminal import abandon
from reasoner.errors import UnknownName
from reasoner.installed import plug_ins

_COMMANDS = {"solve": "solve", "plan": "plan", "trace": "trace", "list": "listing", "doctor": "doctor"}
_GROUP = "reasoner.commands"
"""The entry points under which other packages bring commands of their own."""


def brought() -> EntryPoints:
    """The commands of other packages, by name; nothing is imported yet."""
    return plug_ins(_GROUP)


class _Lazy(click.Group):
    """Imports a command when it is run or asked for help; none of them imports an engine before it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *sorted(brought().names - _COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            command: click.Command = import_module(f"reasoner.cli.{_COMMANDS[cmd_name]}").command
            return command
        if cmd_name not in brought().names:
            return None
        try:
            command = brought()[cmd_name].load()
        except Exception as error:
            ctx.fail(f"the command {cmd_name!r} ({brought()[cmd_name].value}) cannot be imported: {error}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in _COMMANDS and args[0] not in brought().names:
            ctx.fail(str(UnknownName("command", args[0], self.list_commands(ctx))))
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="reasoner-kit", prog_name="reasoner")
def cli() -> None:
    """Spend inference-time compute where it buys accuracy, and account for every token of it."""


def run(arguments: list[str] | None) -> int:
    """Run the command that the arguments, or those of this process, ask for; its exit code."""
    try:
        code: int | None = cli.main(args=arguments, prog_name="reasoner", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        given = sys.argv[1:] if arguments is None else arguments
        click.echo(error_line(_in_one_line(error, given)), err=True)
        return error.exit_code
    except click.Abort as abort:
        raise abort.__cause__ if isinstance(abort.__cause__, KeyboardInterrupt) else KeyboardInterrupt() from None
    except OSError as error:
        # Only help is left: all that commands print goes through a `Terminal`.
        abandon(sys.stdout)
        with suppress(OSError):
            click.echo(error_line(f"cannot write to standard output: {error.strerror}"), err=True)
        return OTHER
    return code or 0


def _in_one_line(error: click.ClickException, given: Sequence[str]) -> str:
    message = error.format_message().rstrip(".")
    message = message[0].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return message
    if isinstance(error, click.NoSuchOption):
        options = [option for parameter in context.command.get_params(context) for option in parameter.opts]
        known = [option for option in options if option.startswith("--")]
        meant = _meant(error.option_name, given)
        meant = meant if meant.partition(" ")[0] in known else ""
        return str(UnknownName("option", error.option_name, known, of=context.command_path, meant=meant))
    return f"{message} (see `{context.command_path} --help`)"


def _meant(option: str, given: Sequence[str]) -> str:
    """How an option of another command is written here, with the value that it was given; empty where nobody knows."""
    if option not in COMMAND_OPTIONS:
        return ""
    start, example = COMMAND_OPTIONS[option]
    place = next((place for place, part in enumerate(given) if part.partition("=")[0] == option), None)
    if place is None:
        return start + example
    following = given[place + 1] if place + 1 < len(given) and not given[place + 1].startswith("-") else ""
    return start + (given[place].partition("=")[2] or following or example)
