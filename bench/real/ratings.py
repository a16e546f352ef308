"""Rate the samples of a recording by a verifier, into a file beside it.

    python bench/real/ratings.py RECORDING --task SPEC --policy FOLDER --verifier SPEC --out FILE [--samples 8]

RECORDING is a file of bench/real/record.py, SPEC its task, and FOLDER the model that wrote the replies. It is not run:
the verifier reads texts alone. A line of FILE (.jsonl.gz) is the rating of a sample: its value, null where the verifier
failed, the tokens and FLOPs of the rating, and the FLOPs of the sample, whose prompt counts once a question. Run the
same command again to continue.
"""

import argparse
import asyncio
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from recorded import completion_of, records

from reasoner import Question
from reasoner.errors import ReasonerError
from reasoner.models.geometry import read_model_info
from reasoner.models.info import ModelInfo
from reasoner.registry import build
from reasoner.verifier import CostMeter, Verifier

ABREAST = 4
UNUSED = build("engine", "simulated")
"""In place of the policy: a verifier with a model of its own reads texts alone."""


async def rated(
    verifier: Verifier, policy: ModelInfo, question: Question, record: dict[str, Any]
) -> dict[str, Any]:
    """The rating of a recorded sample."""
    candidate = completion_of(record, question)
    usage = candidate.usage
    meter, value = CostMeter(), None
    try:
        rating = await verifier.score(question, candidate, UNUSED, meter)
        value = rating.value
    except ReasonerError as error:
        print(f"{question.id}, sample {record['index']}: {error}", flush=True)
    spent = meter.cost
    return {
        "question_id": question.id,
        "index": record["index"],
        "value": value,
        "tokens": spent.verifier_tokens if spent else 0,
        "flops": spent.flops if spent else 0,
        "sample_flops": policy.flops(
            prompt=usage.prompt_tokens,
            cached=usage.cached_tokens,
            generated=usage.generated_tokens,
        ),
    }


async def rate(options: argparse.Namespace) -> None:
    """Rate a few questions at once; those that are rated are kept."""
    task = build("task", options.task).load()
    asked = {item.question.id: item.question for item in task.items}
    rated_before = {record["question_id"] for record in records(options.out)}
    samples = defaultdict[str, list[dict[str, Any]]](list)
    for record in records(options.recording):
        if 0 <= record["index"] < options.samples:
            samples[record["question_id"]].append(record)
    names = sorted(samples)[: options.questions]
    policy = read_model_info(options.policy, name=options.policy.name)
    verifier: Verifier = build("verifier", options.verifier)
    await verifier.start(UNUSED)
    for group in batched([each for each in names if each not in rated_before]):
        ratings = await asyncio.gather(
            *(
                rated(verifier, policy, asked[name], record)
                for name in group
                for record in samples[name]
            )
        )
        with gzip.open(options.out, "at", encoding="utf-8") as lines:
            lines.writelines(json.dumps(rating) + "\n" for rating in ratings)
        print(f"{group[-1]} and those before it are rated", flush=True)
    await verifier.close()


def batched(names: list[str]) -> list[list[str]]:
    """The names, a few together."""
    return [names[start : start + ABREAST] for start in range(0, len(names), ABREAST)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--task", required=True, help="as gsm8k:path=FILE")
    parser.add_argument(
        "--policy", type=Path, required=True, help="the model that wrote the replies"
    )
    parser.add_argument("--verifier", required=True, help="as judge:model=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=8, help="of each question")
    parser.add_argument("--questions", type=int, help="at most, by name")
    asyncio.run(rate(parser.parse_args()))
