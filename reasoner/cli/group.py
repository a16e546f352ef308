"""The group of all commands; turns errors in the command line into one line."""

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, cast

import click

from reasoner.cli.commands import LISTS, Group
from reasoner.cli.terminal import OTHER, Terminal, abandon
from reasoner.errors import UnknownName, shown
from reasoner.system.machine import plug_ins

_COMMANDS = {
    "solve": "solve",
    "batch": "batch",
    "serve": "serve",
    "trace": "trace",
    "list": "listing",
    "doctor": "doctor",
}
_EPILOG: Final = """First steps: reasoner demo

Defaults: variables name the model of all commands; others are the default of an option, here --strategy of solve:

\b
    export REASONER_ENGINE=simulated REASONER_MODEL=PATH_OR_ID
    export REASONER_SOLVE_STRATEGY=vote8

Completion for bash (or zsh, fish), here and in ~/.bashrc:

\b
    eval "$(_REASONER_COMPLETE=bash_source reasoner)"
"""
PLUG_INS = "reasoner.commands"
"""The entry points by which other packages add commands."""


class _LazyGroup(Group):
    """Imports a command when it is run or asked for help, so that `--help` imports nothing slow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *sorted(plug_ins(PLUG_INS).names - _COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module = import_module(f"reasoner.cli.{_COMMANDS[cmd_name]}")
            return cast("click.Command", module.command)
        if cmd_name not in plug_ins(PLUG_INS).names:
            return None
        entry = plug_ins(PLUG_INS)[cmd_name]
        try:
            return cast("click.Command", entry.load())
        except Exception as error:
            ctx.fail(
                f"the command {cmd_name!r} ({entry.value}) cannot be imported: {error}"
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        own = args[0].startswith("-") or args[0] in _COMMANDS
        if not own and args[0] not in (names := self.list_commands(ctx)):
            ctx.fail(_unknown_command(args[0], names))
        return super().resolve_command(ctx, args)


def _unknown_command(name: str, names: Sequence[str]) -> str:
    """What is wrong with an unknown command, and what was meant."""
    if name in LISTS:
        return f"no command named {name!r}; did you mean `reasoner list {name}`?"
    if not name.replace("-", "").replace("_", "").isalpha():
        return f"no command named {shown(name)}; did you mean `reasoner solve {shown(name)}`?"
    return str(UnknownName("command", name, names))


@click.group(
    cls=_LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "REASONER",
    },
    epilog=_EPILOG,
)
@click.version_option(
    package_name="reasoner-kit", prog_name="reasoner", allow_from_autoenv=False
)
def cli() -> None:
    """Answer questions with a language model and a budget: more compute where it raises accuracy, all of it counted."""


def run(arguments: list[str] | None) -> int:
    """Run the command of these arguments, by default those of this process; the exit code."""
    try:
        code: int | None = cli.main(
            args=arguments, prog_name="reasoner", standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        Terminal().fail(_message(error))
        return error.exit_code
    except click.Abort as abort:
        raise (
            abort.__cause__
            if isinstance(abort.__cause__, KeyboardInterrupt)
            else KeyboardInterrupt()
        ) from None
    except OSError as error:
        # This can only be the output of help: commands print through a `Terminal`.
        abandon(sys.stdout)
        Terminal().fail(f"cannot write to standard output: {error.strerror}")
        return OTHER
    return code or 0


def _message(error: click.ClickException) -> str:
    """The error in one line, with a suggestion where there is one."""
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return message
    if isinstance(error, click.NoSuchOption):
        return _unknown_option(error.option_name, context)
    if context.command.name == "solve" and message.startswith("got unexpected extra"):
        return 'the question must be one argument: put it in quotes, as in `reasoner solve "What is 3 + 4?"`'
    see = (
        ""
        if "did you mean" in message or "named" in message
        else f" (see `{context.command_path} --help`)"
    )
    return f"{message}{see}"


def _unknown_option(name: str, context: click.Context) -> str:
    """What is wrong with an unknown option: what was meant, or which options there are."""
    known = [
        option
        for parameter in context.command.get_params(context)
        for option in parameter.opts
    ]
    problem = f"no option of {context.command_path} named {shown(name)}"
    plain = name.replace("_", "-")
    words = (
        [option[2:] for option in known if option.startswith("--")]
        if plain.startswith("--")
        else []
    )
    if near := difflib.get_close_matches(plain[2:], words, n=1):
        return f"{problem}; did you mean --{near[0]}?"
    after = (
        ": the options of a command follow its name"
        if isinstance(context.command, click.Group)
        else ""
    )
    listed = ", ".join(sorted(option for option in known if option.startswith("--")))
    return f"{problem}{after} (there are: {listed})"
