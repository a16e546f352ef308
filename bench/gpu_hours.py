"""Hours, dollars, drivers and disk of a run on GPUs: the formulas of docs/scale.md, for a prediction of yours.

    reasoner plan --profile gsm8k.json --questions 1e6 --target-accuracy 0.45 --json |
        python bench/gpu_hours.py --gpus 8 --rate 2400 2550 [--usd-per-gpu-hour 2]

`--rate` is tokens per second of one GPU with this model and such questions, as `python bench/gpu.py 2` prints it.
All GPUs count as busy from start to end, and a prompt token as slow as a generated one.
"""

import argparse
import json
import math
import statistics
import sys
from typing import Any

SAMPLE_SECONDS, BUSY = 1e-3, 0.5
"""Processor seconds of a driver per sample, and the share of a core that one may use."""
QUESTION_BYTES, SAMPLE_BYTES, TOKEN_BYTES = 1790 + 620, 1330 + 420, 8.1
"""Bytes of trace, journal and grades."""


def lines(
    planned: dict[str, Any],
    gpus: int,
    rates: list[float],
    usd_per_gpu_hour: float | None,
) -> list[str]:
    """What the run takes."""
    questions, tokens = planned["questions"], planned["total_tokens"]
    samples = questions * sum(arm["share"] * arm["samples"] for arm in planned["arms"])
    hours = tokens / (gpus * statistics.median(rates)) / 3600
    longest = planned["total_tokens_p95"] / (gpus * min(rates)) / 3600
    cores = samples / (hours * 3600) * SAMPLE_SECONDS
    size = questions * QUESTION_BYTES + samples * SAMPLE_BYTES + tokens * TOKEN_BYTES
    price = (
        "" if usd_per_gpu_hour is None else f", ${hours * gpus * usd_per_gpu_hour:,.2f}"
    )
    return [
        f"hours   {hours:.3g}, at most {longest:.3g} with 95 % probability at the lowest rate{price}",
        f"driver  {cores:.3g} cores: {max(1, math.ceil(cores / BUSY))} drivers, each at most half busy",
        f"disk    {size / 1e9:,.1f} GB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--rate", type=float, nargs="+", required=True)
    parser.add_argument("--usd-per-gpu-hour", type=float)
    given = parser.parse_args()
    print(
        *lines(json.load(sys.stdin), given.gpus, given.rate, given.usd_per_gpu_hour),
        sep="\n",
    )


if __name__ == "__main__":
    main()
