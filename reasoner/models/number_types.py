"""How fast this processor multiplies matrices in each number type: measured once per machine, and kept.

`python -m reasoner.models.number_types` measures, in a process of its own: one thread, and torch only there.
"""

import hashlib
import os
import subprocess
import sys
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, PositiveFloat, ValidationError

from reasoner.models.cache import cache_home
from reasoner.system.child_processes import end_with
from reasoner.system.files import read_whole, replacing
from reasoner.system.machine import MACHINE, cpu_flags, cpu_name, installed

_ROWS: Final = 64
"""Sequences that a step computes at once."""
_WIDTH: Final = 1024


class Speeds(BaseModel):
    """Billions of operations a second in a linear layer, one thread, in each number type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bfloat16: PositiveFloat
    float32: PositiveFloat


def measured_speeds() -> Speeds | None:
    """The speeds of this machine, from the cache folder; the first time, importing torch to measure takes seconds.

    None where the machine is only described, torch is not installed, or the measurement fails.
    """
    torch = installed("torch")
    return kept_speeds(torch) if torch and MACHINE not in os.environ else None


@lru_cache(maxsize=1)
def kept_speeds(torch: str) -> Speeds | None:
    """The speeds that this version of torch has on the machine we run on: a process reads or measures them once."""
    machine = f"{cpu_name()} {' '.join(sorted(cpu_flags()))} torch {torch}"
    file = (
        cache_home()
        / "number_types"
        / f"{hashlib.sha256(machine.encode()).hexdigest()[:16]}.json"
    )
    with suppress(OSError, ValidationError):
        return Speeds.model_validate_json(read_whole(file))

    command = [sys.executable, "-m", "reasoner.models.number_types"]
    # The folder of this package, so that the child finds it even if it is not installed.
    done = subprocess.run(  # noqa: S603 # our own
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    try:
        speeds = Speeds.model_validate_json(done.stdout)
    except ValidationError:
        return None
    # A cache that cannot be written costs the measurement again in the next process.
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as opened:
            opened.write(done.stdout)
    return speeds


def measure() -> Speeds:
    """Measure both number types in turn, by processor time: waiting for a core does not count."""
    import torch

    layers = {
        name: (
            torch.rand(_ROWS, _WIDTH, dtype=dtype),
            torch.rand(_WIDTH, _WIDTH, dtype=dtype),
        )
        for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32))
    }
    best = dict.fromkeys(layers, float("inf"))
    began = time.process_time()
    # Processor time for each number type
    while time.process_time() - began < 0.05 * len(layers):
        for name, (rows, weights) in layers.items():
            start = time.process_time()
            torch.nn.functional.linear(rows, weights)
            best[name] = min(best[name], time.process_time() - start)
    return Speeds(
        **{name: 2e-9 * _ROWS * _WIDTH**2 / seconds for name, seconds in best.items()}
    )


if __name__ == "__main__":
    end_with(os.getppid())
    sys.stdout.write(measure().model_dump_json())
