"""The vote that predicts itself on a real engine: its tokens and time against the plain vote, and what its probes cost.

    python bench/predicting.py [--questions 1] [--samples 16] [--tokens 1200] [--every 500]

The chains are those of the embedded model with markers of thinking, a model for tests. It may not end a sequence here,
so a limit cuts them all: its answers are worth nothing, its engine, cache and probes are real. Both votes draw the same
chains in this process, in turn, each with an empty cache. A probe reads its chain from the prefix cache, and computes
what asks for the answer.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from reasoner import Question, solve_many
from reasoner.engine import reset_caches
from reasoner.engines.vllm import VllmEngine
from reasoner.models.resolve import resolve
from reasoner.trace.events import AnswerExtracted, Event
from reasoner_evals.tasks import arithmetic
from tests.engine.thinking_model import END_ID, thinking_model

END_OF_SEQUENCE = 2
"""The token id of `<|im_end|>`."""


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Run both votes and print a row for each."""
    engine = VllmEngine(model_id=str(folder), max_model_len=4096, kv_gib=1)
    await engine.start()
    questions = [
        Question.of(item.question.text, space="number", id=item.question.id)
        for item in arithmetic.reported()[: options.questions]
    ]
    vote = (
        f"self_consistency:n={options.samples},max_tokens={options.tokens},temperature=0.7,"
        f"logit_bias=[[{END_OF_SEQUENCE},-100],[{END_ID},-100]]"
    )
    print(
        "| | seconds | tokens | of chains | sequential | of probes | read from the cache by probes, of their prompts |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, spec in (
        ("the vote", vote),
        ("`stop=predict`", f"{vote},stop=predict(every={options.every})"),
    ):
        await reset_caches(engine)
        events, began = list[Event](), time.perf_counter()
        solutions = await solve_many(
            questions, spec, engine, seed=options.seed, trace=events.append
        )
        seconds = time.perf_counter() - began
        probes = [event.cost for event in events if isinstance(event, AnswerExtracted)]
        tokens = sum(solution.cost.tokens for solution in solutions)
        probed = sum(cost.tokens for cost in probes)
        computed, cached = (
            sum(cost.prompt_tokens for cost in probes),
            sum(cost.cached_tokens for cost in probes),
        )
        sequential = sum(solution.cost.sequential_tokens for solution in solutions)
        share = f"{cached / (computed + cached):.1%}" if computed + cached else ""
        print(
            f"| {name} | {seconds:.0f} | {tokens:,} | {tokens - probed:,} | {sequential / len(questions):,.0f} | "
            f"{probed:,} in {len(probes):,} probes | {share} |",
            flush=True,
        )
    await engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--questions", type=int, default=1)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=1200, help="of a chain, at most")
    parser.add_argument("--every", type=int, default=500, help="tokens between probes")
    parser.add_argument("--seed", type=int, default=0)
    with tempfile.TemporaryDirectory() as parent:
        embedded = resolve("embedded", lambda _: None).folder
        assert embedded
        model = thinking_model(Path(parent) / "thinker", embedded)
        asyncio.run(measure(parser.parse_args(), model))
