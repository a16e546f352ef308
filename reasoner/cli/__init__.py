"""The `reasoner` command."""

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from reasoner.cli.exits import INTERRUPTED, OTHER, error_line
from reasoner.cli.terminal import abandon
from reasoner.errors import UnknownName

_COMMANDS = {"solve": "solve", "list": "listing", "doctor": "doctor"}


class _Lazy(click.Group):
    """Imports a command when it is run or asked for help; none of them imports an engine before it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"reasoner.cli.{_COMMANDS[cmd_name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in _COMMANDS:
            ctx.fail(str(UnknownName("command", args[0], _COMMANDS)))
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="reasoner-kit", prog_name="reasoner")
def cli() -> None:
    """Spend inference-time compute where it buys accuracy, and account for every token of it."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command and exit with its code."""
    _open_closed_streams()
    try:
        code = cli.main(args=arguments, prog_name="reasoner", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        click.echo(error_line(_in_one_line(error)), err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except OSError as error:
        # Only help is left: all that commands print goes through a `Terminal`.
        abandon(sys.stdout)
        with suppress(OSError):
            click.echo(error_line(f"cannot write to standard output: {error.strerror}"), err=True)
        code = OTHER
    _leave(code or 0)


def _in_one_line(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    message = message[0].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return message
    if isinstance(error, click.NoSuchOption):
        options = [option for parameter in context.command.get_params(context) for option in parameter.opts]
        known = [option for option in options if option.startswith("--")]
        return str(UnknownName("option", error.option_name, known, of=context.command_path))
    return f"{message} (see `{context.command_path} --help`)"


def _open_closed_streams() -> None:
    """Open those that were closed before the start, as None is no file and their numbers would go to other files."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 open to the end


def _leave(code: int) -> None:
    """Exit, and do not wait for vLLM where it was imported: its threads may be anywhere, and torch takes seconds."""
    if "vllm" not in sys.modules:
        sys.exit(code)
    import multiprocessing

    for child in multiprocessing.active_children():
        child.kill()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
