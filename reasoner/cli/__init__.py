"""The `reasoner` command."""

import sys
import time

STARTED = time.perf_counter()
"""When the command began: its summary counts the imports too."""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(arguments: list[str] | None = None) -> "NoReturn":
    """Run the command and exit with its code."""
    try:
        rarely_collect()
        # Imported here, so that an interrupt during these imports, which take most of a short run, is handled.
        from reasoner.cli.interrupts import raised

        with raised():
            _open_closed_streams()
            from reasoner.cli.group import run

            _leave(run(arguments))
    except KeyboardInterrupt as interrupt:
        _leave(_interrupted(interrupt))


def rarely_collect() -> None:
    """Search rarely for cycles of objects: those that imports make are kept anyway."""
    import gc

    from reasoner.system.machine import COLLECT_EVERY

    gc.set_threshold(COLLECT_EVERY)


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    """Report the interrupt; the exit code. Further interrupts are ignored."""
    _ignore_interrupts()
    from contextlib import suppress

    from reasoner.cli.interrupts import code_of

    with suppress(OSError, AttributeError):  # there may be no standard error
        sys.stderr.write("interrupted\n")
    return code_of(interrupt)


def _ignore_interrupts() -> None:
    import signal
    import threading

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _open_closed_streams() -> None:
    """Open standard streams that were closed before the start, so that no other file gets their descriptors.

    Standard output is opened for reading only: writing to it fails, so that an answer is not lost silently.
    """
    import os

    for name, mode, flag in (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            setattr(
                sys,
                name,
                os.fdopen(
                    os.open(os.devnull, flag), mode, encoding="utf-8", closefd=False
                ),
            )


def _leave(code: int) -> "NoReturn":
    """Exit. Wait neither for vLLM nor for the threads and tasks of an interrupted run."""
    import os
    from contextlib import suppress

    _ignore_interrupts()
    if "torch" not in sys.modules and code < 128:
        import gc

        # The system frees everything. Not with torch: triton would report all of it as leaked.
        gc.freeze()
        sys.exit(code)
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.kill()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
