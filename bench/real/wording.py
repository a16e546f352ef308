"""Which wording of an answer's form is best, by the accuracy of one sample on questions for training.

    python bench/real/wording.py MODEL TASK [--limit 100] [--max-tokens 400] [--seed 0]
        [--part 2/2] [--wording TEXT ...]

Asks every question once with each wording, at temperature 0.7, and prints for each wording its accuracy, the difference
to the task's own prompt with its 95 % interval over questions, and generated tokens a question. MODEL is a folder or an
id; TASK has reference answers, as in `jsonl:FILE`. `{kind}` in a wording stands for the form that the answer's kind
asks for. `--part 2/2` takes every second question, from the second on.
"""

import argparse
import asyncio
from dataclasses import replace

import numpy as np

from reasoner import SamplingParams, solve_many
from reasoner.answers.equivalence import Equivalence
from reasoner.engines.vllm import VllmEngine
from reasoner.registry import build
from reasoner.types import Message, Prompt
from reasoner_evals.tasks import GradedQuestion
from reasoner_strategies import Single

STEPS = "Reason step by step."
BOX = "Please reason step by step, and put your final answer within \\boxed{}."


WORDINGS = ("{kind}", f"{STEPS} {{kind}}", BOX, f"{BOX} {{kind}}")
OWN = "(the task's own)"


def asked(item: GradedQuestion, wording: str) -> GradedQuestion:
    """The question with another instruction."""
    if wording == OWN:
        return item
    question = item.question
    instruction = wording.replace("{kind}", question.space.instruction).strip()
    prompt = Prompt(messages=(Message("user", f"{question.text}\n\n{instruction}"),))
    return replace(
        item, question=replace(question, id=f"{question.id}|{wording}", prompt=prompt)
    )


async def measure(options: argparse.Namespace) -> None:
    """Ask, grade and print."""
    part, parts = map(int, options.part.split("/"))
    items = build("task", options.task).load().items[part - 1 :: parts]
    items = items[: options.limit]
    wordings = (OWN, *(options.wording or WORDINGS))
    everything = [asked(item, wording) for item in items for wording in wordings]

    engine = VllmEngine(model_id=options.model, max_model_len=2048, kv_gib=1)
    strategy = Single(
        params=SamplingParams(temperature=0.7, max_tokens=options.max_tokens)
    )
    solutions = await solve_many(
        [item.question for item in everything], strategy, engine, seed=options.seed
    )
    await engine.close()

    equivalence = Equivalence()
    grades = [
        solution.answer is not None
        and await item.grader.grade(item, solution.answer, equivalence) == "right"
        for item, solution in zip(everything, solutions, strict=True)
    ]
    shape = (len(items), len(wordings))
    right = np.array(grades, float).reshape(shape)
    tokens = np.array(
        [solution.cost.generated_tokens for solution in solutions]
    ).reshape(shape)
    for column, wording in enumerate(wordings):
        gain = right[:, column] - right[:, 0]
        half = 196 * gain.std(ddof=1) / len(items) ** 0.5
        print(
            f"{100 * right[:, column].mean():5.1f} %  {100 * gain.mean():+5.1f} +- {half:.1f} points  "
            f"{tokens[:, column].mean():5.0f} tokens  {wording}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("task")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", default="1/1", help="which questions, as in 2/2")
    parser.add_argument("--wording", action="append", help="instead of those known")
    asyncio.run(measure(parser.parse_args()))
