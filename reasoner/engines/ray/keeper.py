"""A process that ends what Ray leaves behind: its agents try for a minute to reach a cluster that was killed.

It imports the standard library only, and waits for the end of its input, which comes when the driver ends.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def began(pid: str) -> str:
    """When a process began, in the kernel's clock ticks; empty if it has ended, or where there is no /proc."""
    try:
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
    except (OSError, IndexError):
        return ""


def main() -> None:
    """Wait, then kill the processes that are given as PID=BEGAN, and remove the folder."""
    folder, *processes = sys.argv[1:]
    sys.stdin.buffer.read()
    for _ in range(40):
        left = [
            pid
            for pid, _, start in (entry.partition("=") for entry in processes)
            if start and began(pid) == start
        ]
        for pid in left:
            with suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        if not left and not Path(folder).exists():
            return
        # Seconds between two tries to end what is left: replicas notice the end of the cluster after some
        # seconds
        time.sleep(0.25)


if __name__ == "__main__":
    main()
