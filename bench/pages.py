"""What large pages save in the tables that a step of a CPU engine makes: one row a sequence, one column a token.

    python bench/pages.py [--rows 192] [--columns 151936]

Prints milliseconds of processor time, the best of 5, one thread: with pages of 4 KiB, and with those of 2 MiB that
torch takes if `THP_MEM_ALLOC_ENABLE` is set, each in a process of its own. Tables are of float32.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

VARIABLE = "THP_MEM_ALLOC_ENABLE"


def measure(rows: int, columns: int) -> None:
    """Time each step in this process."""
    import torch

    torch.set_num_threads(1)
    logits = torch.randn(rows, columns)
    steps: dict[str, Callable[[], object]] = {
        "fill a table": lambda: torch.empty(rows, columns).fill_(1.0),
        "log-probabilities": lambda: logits.log_softmax(dim=-1),
        "ranks": lambda: (logits >= logits[:, :1]).sum(-1),
    }
    for name, step in steps.items():
        times = []
        for _ in range(6):
            began = time.process_time()
            step()
            times.append(time.process_time() - began)
        print(f"{name:20}{1000 * min(times[1:]):8.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--columns", type=int, default=151_936)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        measure(options.rows, options.columns)
        return
    for value in ("0", "1"):
        print(f"{VARIABLE}={value}", flush=True)
        subprocess.run(
            [
                sys.executable,
                __file__,
                "--here",
                f"--rows={options.rows}",
                f"--columns={options.columns}",
            ],
            env={**os.environ, VARIABLE: value},
            check=True,
        )


if __name__ == "__main__":
    main()
