"""The `reasoner` command."""

import multiprocessing
import os
import sys
from importlib import import_module
from typing import Any

import click

from reasoner.cli.exits import INTERRUPTED

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


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="reasoner-kit", prog_name="reasoner")
def cli() -> None:
    """Spend inference-time compute where it buys accuracy, and account for every token of it."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command and exit with its code."""
    try:
        code = cli.main(args=arguments, prog_name="reasoner", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        sys.stdout = None
        code = 1
    _leave(code or 0)


def _leave(code: int) -> None:
    """Exit, and do not wait for vLLM where it was imported: its threads may be anywhere, and torch takes seconds."""
    if "vllm" not in sys.modules:
        sys.exit(code)
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
