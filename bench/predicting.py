"""The vote that predicts itself on a real engine: its tokens and time against other votes, and what its probes cost.

    python bench/predicting.py [--model FOLDER] [--task SPEC] [--questions 4] [--samples 16] [--every 40]

A chain ends by itself here. A thought is what the model writes before `####`, as solutions of GSM8K write before their
answer: the model is copied with that token as the closing marker, its weights are as they are. The template shows one
solved question, and opens thinking. All votes ask the same questions in this process, in turn, each with an empty
cache. A probe reads its chain from the prefix cache, and computes what asks for the answer. "Ended" are the
chains that ended by themselves.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from reasoner import solve_many
from reasoner.answers.equivalence import Equivalence
from reasoner.engine import Engine, reset_caches
from reasoner.engines.vllm import VllmEngine
from reasoner.models.resolve import resolve
from reasoner.registry import build
from reasoner.trace.events import AnswerExtracted, Event, Sampled

MARKER, START, END = "####", "<think>", "</think>"
UNUSED = ("<|fim_pad|>", "<filename>")
"""Tokens that a chat never has: the first that the model knows opens thinking."""
TEMPLATE = (
    "<|im_start|>user\nAnn has 3 boxes with 4 pens each and loses 2 pens. How many pens are left?\n\n"
    "Give the answer as a number.<|im_end|>\n"
    "<|im_start|>assistant\n<think>\nThe boxes hold 3 * 4 = 12 pens.\nAfter the loss there are 12 - 2 = 10 pens.\n"
    "</think> 10<|im_end|>\n"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '</think> ' }}{% endif %}{% endif %}"
)
SETTLED = "first_of(rules=[beta(theta=0.9),no_majority])"


def thinking_copy(model: Path, folder: Path) -> Path:
    """The folder of the same model, whose thoughts end where it writes the marker."""
    folder.mkdir()
    for path in model.iterdir():
        if path.name not in ("tokenizer.json", "chat_template.jinja"):
            (folder / path.name).symlink_to(path.resolve())
    tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    words, added = tokenizer["model"]["vocab"], tokenizer["added_tokens"]
    opening = next(
        token for name in UNUSED for token in added if token["content"] == name
    )
    closing = opening | {"id": words.pop(MARKER), "content": END}
    words.pop(opening["content"], None)
    opening["content"] = START
    for token in (opening, closing):
        words[token["content"]] = token["id"]
        # As in Qwen3 and DeepSeek-R1, the markers are added tokens, but not special ones.
        token["special"] = False
    added.append(closing)
    added.sort(key=lambda token: int(token["id"]))
    tokenizer["model"]["merges"] = [
        pair
        for pair in tokenizer["model"]["merges"]
        if MARKER not in (*pair, "".join(pair))
    ]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


async def row(spec: str, items: list[Any], engine: Engine, seed: int) -> str:
    """What a vote costs on these questions, and how many it answers rightly."""
    await reset_caches(engine)
    events, began = list[Event](), time.perf_counter()
    questions = [item.question for item in items]
    solutions = await solve_many(
        questions, spec, engine, seed=seed, trace=events.append
    )
    seconds = time.perf_counter() - began
    right = 0
    for item, solution in zip(items, solutions, strict=True):
        if solution.error:
            raise solution.error
        if solution.answer:
            grade = await item.grader.grade(item, solution.answer, Equivalence())
            right += grade == "right"
    probes = [event.cost for event in events if isinstance(event, AnswerExtracted)]
    ended = sum(
        isinstance(event, Sampled) and event.finish_reason == "stop" for event in events
    )
    tokens = sum(solution.cost.tokens for solution in solutions)
    sequential = sum(solution.cost.sequential_tokens for solution in solutions)
    probed = sum(cost.tokens for cost in probes)
    cached = sum(cost.cached_tokens for cost in probes)
    prompts = cached + sum(cost.prompt_tokens for cost in probes)
    return (
        f"{right} of {len(items)} | {seconds:.0f} | {tokens:,} | {sequential / len(items):,.0f} | "
        f"{ended} | {len(probes)}, {probed / tokens:.1%} | "
        f"{f'{cached / prompts:.1%}' if prompts else ''} |"
    )


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Run the votes and print a row for each."""
    engine = VllmEngine(
        model_id=str(folder), max_model_len=options.max_model_len, kv_gib=1
    )
    await engine.start()
    items = build("task", options.task).load().items[: options.questions]
    vote = f"self_consistency:n={options.samples},max_tokens={options.tokens},temperature=0.7"
    print(
        "| | right | seconds | tokens | sequential, a question | ended | probes, of the tokens "
        "| of their prompts, cached |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, spec in (
        ("the vote", vote),
        ("settled", f"{vote},stop={SETTLED}"),
        ("`stop=predict`", f"{vote},stop=predict(every={options.every})"),
    ):
        print(
            f"| {name} | {await row(spec, items, engine, options.seed)}",
            flush=True,
        )
    await engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="embedded", help="a folder, or embedded")
    parser.add_argument("--task", default="arithmetic")
    parser.add_argument("--questions", type=int, default=4)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=320, help="of a chain, at most")
    parser.add_argument("--every", type=int, default=40, help="tokens between probes")
    parser.add_argument("--max-model-len", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    with tempfile.TemporaryDirectory() as parent:
        given = parser.parse_args()
        known = resolve(given.model, lambda _: None).folder
        assert known
        asyncio.run(measure(given, thinking_copy(known, Path(parent) / "thinker")))
