"""The worker process of a `process_pool`: it runs one function per request line and answers with lines of JSON.

Standard input is a pipe that carries nothing and closes when the parent ends. Standard output is the socket.
"""

import base64
import json
import logging
import os
import pickle
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

from reasoner.system.child_processes import end_when_closed
from reasoner.system.foreign import described

READY = "{}"
"""Sent when the worker has started, and when it has imported the function of a task."""
GRACE = 2.0
"""Seconds past its time limit after which a worker ends itself, in case its parent is gone."""
HANG = 1.0
"""Seconds of processor time past its limit after which the kernel ends a worker that looks at no signal."""


def main() -> None:
    """Set the limits, prepare, and serve until the socket closes."""
    parent, channel = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    end_when_closed(parent)
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGVTALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, _stop)
    logging.disable()
    with os.fdopen(channel, "rb") as requests, os.fdopen(os.dup(channel), "wb") as replies:

        def send(message: str) -> None:
            replies.write(message.encode() + b"\n")
            replies.flush()

        memory_mib, prepare = _unpickled(requests.readline())
        _limit(resource.RLIMIT_AS, memory_mib << 20)
        _limit(resource.RLIMIT_CORE, 0)
        if prepare is not None:
            prepare()
        send(READY)
        for line in requests:
            send(_reply(line, send))


def _limit(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


class _LateError(BaseException):
    """Ends a function whose processor time is used up; not an Exception, which foreign code might catch."""


def _stop(_number: int, _frame: Any) -> None:
    raise _LateError


def _reply(request: bytes, send: Callable[[str], None]) -> str:
    began = time.process_time()
    try:
        # Imports the function, which counts towards no limit.
        function, args, seconds, cpu_seconds = _unpickled(request)
        send(READY)
        # SIGALRM ends a worker whose parent is gone, even inside a C function that never checks signals.
        signal.setitimer(signal.ITIMER_REAL, seconds + GRACE)
        began = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds and cpu_seconds + HANG)
            # Repeats, as foreign code may catch everything.
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds, 0.1)
            reply = json.dumps({"value": function(*args), "seconds": time.process_time() - began})
        finally:
            _disarm()
    except _LateError:
        _disarm()
        reply = json.dumps({"late": True, "seconds": time.process_time() - began})
    except BaseException as error:
        reply = json.dumps({"error": described(error), "seconds": time.process_time() - began})
    signal.setitimer(signal.ITIMER_REAL, 0)
    return reply


def _disarm() -> None:
    while True:
        try:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except _LateError:
            continue
        return


def _unpickled(line: bytes) -> Any:
    return pickle.loads(base64.b64decode(line))  # noqa: S301 written by the parent


if __name__ == "__main__":
    main()
