"""The `reasoner` command."""

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its code."""
    _open_closed_streams()
    try:
        # Imported here, as these imports are most of a short run, and may be interrupted like the rest of it.
        from reasoner.cli.group import run

        code = run(arguments)
    except KeyboardInterrupt:
        with suppress(OSError):
            sys.stderr.write("interrupted\n")
        code = 128 + signal.SIGINT
    _leave(code)


def _open_closed_streams() -> None:
    """Open those that were closed before the start, as None is no file and their numbers would go to other files.

    What is written to a standard output that was closed is an error, and not lost without a word.
    """
    for name, mode, flag in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flag), mode, encoding="utf-8", closefd=False))


def _leave(code: int) -> NoReturn:
    """Exit, and do not wait for vLLM where it was imported: its threads may be anywhere, and torch takes seconds."""
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "vllm" not in sys.modules:
        sys.exit(code)
    import multiprocessing

    for child in multiprocessing.active_children():
        child.kill()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
