"""Hours, dollars, drivers and disk of a run on GPUs: the formulas of docs/scale-plan.md, for a run of yours.

    python bench/gpu_hours.py --questions 1e6 --tokens 400 --samples 8 --gpus 8 --rate 2400 2550 [--usd-per-gpu-hour 2]

`--tokens` and `--samples` are means per question, as `reasoner calibrate` prints them for each arm. `--rate` is tokens
per second of one GPU with this model and such questions, as `python bench/gpu.py 2` prints it. All GPUs count as busy
from start to end, and a prompt token as slow as a generated one.
"""

import argparse
import math
import statistics

SAMPLE_SECONDS, BUSY = 1e-3, 0.5
"""Processor seconds of a driver per sample, and the share of a core that one may use."""
QUESTION_BYTES, SAMPLE_BYTES, TOKEN_BYTES = 1790 + 620, 1330 + 420, 8.1
"""Bytes of trace, journal and grades."""


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--questions", "--tokens", "--samples"):
        parser.add_argument(name, type=float, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--rate", type=float, nargs="+", required=True)
    parser.add_argument("--usd-per-gpu-hour", type=float, default=0.0)
    given = parser.parse_args()
    tokens, samples = given.questions * given.tokens, given.questions * given.samples
    hours = tokens / (given.gpus * statistics.median(given.rate)) / 3600
    longest = tokens / (given.gpus * min(given.rate)) / 3600
    cores = samples / (hours * 3600) * SAMPLE_SECONDS
    size = given.questions * QUESTION_BYTES + samples * SAMPLE_BYTES + tokens * TOKEN_BYTES
    print(f"hours   {hours:.3g}, {longest:.3g} at the lowest rate, ${hours * given.gpus * given.usd_per_gpu_hour:,.2f}")
    print(f"driver  {cores:.3g} cores: {max(1, math.ceil(cores / BUSY))} drivers, each at most half busy")
    print(f"disk    {size / 1e9:,.1f} GB")


if __name__ == "__main__":
    main()
