"""Tokens a second that a real model generates here, against what its matrices alone would allow.

    python bench/real/matrices.py --model FOLDER [--sequences 64 256] [--tokens 48]
        [--logprobs] [ROUNDS]

Sequences with a seed each go to the engine with its defaults, all at once, and have TOKENS tokens each. The matrices
are the linear layers of the model and its last one, multiplied by torch with the engine's number type and threads, for
one token of each sequence: no attention, no sampling, no Python. The two alternate, ROUNDS times, in this process.
`--logprobs` asks for the log-probability of each token, as certainties do.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from statistics import median

import torch

from reasoner import Prompt, SamplingParams
from reasoner.engine import Progress, SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.models.geometry import default_dtype

PROMPT = Prompt.chat("Write a long story about a ship and a storm.")


def shapes(folder: Path) -> list[tuple[int, int, int]]:
    """The matrices that a token passes, by the model's configuration: how often each, its outputs and its inputs."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    size = config.get("head_dim") or hidden // heads
    together = (heads + 2 * config["num_key_value_heads"]) * size
    layers, inner = config["num_hidden_layers"], config["intermediate_size"]
    return [
        (layers, together, hidden),
        (layers, hidden, heads * size),
        (layers, 2 * inner, hidden),
        (layers, hidden, inner),
        (1, config["vocab_size"], hidden),
    ]


def multiplied(folder: Path, dtype: torch.dtype, sequences: int) -> float:
    """The seconds of one step's matrices, each with weights of its own, as in the model."""
    layers = [
        (
            torch.rand(sequences, columns, dtype=dtype),
            torch.rand(rows, columns, dtype=dtype),
        )
        for count, rows, columns in shapes(folder)
        for _ in range(count)
    ]
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        for given, weights in layers:
            torch.nn.functional.linear(given, weights)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


async def generated(
    engine: VllmEngine, sequences: int, params: SamplingParams, turn: int
) -> float:
    """Tokens a second from when all sequences have their first token to when they end."""
    rendered = await engine.render(PROMPT)
    requests = [
        SampleRequest(
            "q",
            PROMPT,
            rendered,
            params,
            index,
            1000 * turn + index,
            progress=Progress(),
        )
        for index in range(sequences)
    ]
    works = [asyncio.ensure_future(engine.sample(each)) for each in requests]
    while True:
        lengths = [each.progress.tokens for each in requests if each.progress]
        if all(lengths):
            break
        await asyncio.wait(works, timeout=0.01)
    start = time.perf_counter()
    completions = await asyncio.gather(*works)
    seconds = time.perf_counter() - start
    tokens_in_all = sum(reply.usage.generated_tokens for reply in completions)
    return (tokens_in_all - sum(lengths)) / seconds


async def main(options: argparse.Namespace) -> None:
    engine = VllmEngine(model_id=str(options.model), max_model_len=1024, kv_gib=2)
    await engine.start()
    dtype = default_dtype(options.model).dtype
    params = SamplingParams(
        max_tokens=options.tokens,
        temperature=0.7,
        logprobs=0 if options.logprobs else None,
    )
    await generated(engine, 4, params, 0)
    print("| sequences | tokens a second | by the matrices alone | share |")
    print("|---|---|---|---|")
    for sequences in options.sequences:
        rates, limits = [], []
        for turn in range(1, options.rounds + 1):
            rates.append(await generated(engine, sequences, params, turn))
            limits.append(
                sequences / multiplied(options.model, getattr(torch, dtype), sequences)
            )
        shares = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
        print(
            f"| {sequences} | {median(rates):.0f} | {median(limits):.0f} | "
            f"{median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) |",
            flush=True,
        )
    print(f"{dtype}, {torch.get_num_threads()} threads")
    await engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sequences", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--logprobs", action="store_true")
    asyncio.run(main(parser.parse_args()))
