"""Hours, dollars, drivers and disk of a run on GPUs: the formulas of docs/scale.md, for a prediction of yours.

    python bench/gpu_hours.py --questions 1e6 --samples 8 --tokens 3400 --gpus 8 --rate 2400 2550 [--usd-per-gpu-hour 2]

`--samples` and `--tokens` are those of a question on average, as `reasoner tune` and `reasoner report` print them.
`--rate` is tokens per second of one GPU with this model and such questions, as `python bench/gpu.py 2` prints it.
All GPUs count as busy from start to end, and a prompt token as slow as a generated one.
"""

import argparse
import math
import statistics

SAMPLE_SECONDS, BUSY = 1e-3, 0.5
"""Processor seconds of a driver per sample, and the share of a core that one may use."""
QUESTION_BYTES, SAMPLE_BYTES, TOKEN_BYTES = 1790 + 620, 1330 + 420, 8.1
"""Bytes of trace, journal and grades."""


def lines(given: argparse.Namespace) -> list[str]:
    """What the run takes."""
    samples, tokens = given.questions * given.samples, given.questions * given.tokens
    hours, longest = (
        tokens / (given.gpus * rate) / 3600
        for rate in (statistics.median(given.rate), min(given.rate))
    )
    cores = samples / (hours * 3600) * SAMPLE_SECONDS
    size = (
        given.questions * QUESTION_BYTES + samples * SAMPLE_BYTES + tokens * TOKEN_BYTES
    )
    usd = given.usd_per_gpu_hour
    price = "" if usd is None else f", ${hours * given.gpus * usd:,.2f}"
    return [
        f"hours   {hours:.3g}, {longest:.3g} at the lowest rate{price}",
        f"driver  {cores:.3g} cores: {max(1, math.ceil(cores / BUSY))} drivers, each at most half busy",
        f"disk    {size / 1e9:,.1f} GB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=float, required=True)
    parser.add_argument("--samples", type=float, required=True)
    parser.add_argument("--tokens", type=float, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--rate", type=float, nargs="+", required=True)
    parser.add_argument("--usd-per-gpu-hour", type=float)
    print(*lines(parser.parse_args()), sep="\n")


if __name__ == "__main__":
    main()
