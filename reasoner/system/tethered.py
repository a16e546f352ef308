"""Becomes another command that ends when the parent of this process ends: `python tethered.py COMMAND...`."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        # Unlike a watching thread, it outlives `exec`. It fires when the thread that started this process ends, so that
        # thread has to wait for it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 # the caller chose it
