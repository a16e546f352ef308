"""Tokens that a process reward model computes in a beam search of width 4 and depth 8, with and without its caches.

    python bench/step_cache.py [REWARD_MODEL]

Three questions. Each of 4 beams is continued 4 times by a step of up to 24 tokens, all 16 paths are rated, the best 4
are continued, and at the end the last 4 are rated again for the final choice. The paths of a search are then rated
again without each of the two caches. REWARD_MODEL is what `prm:model=` takes; without it, the included head.
"""

import asyncio
import dataclasses
import sys
from collections.abc import Sequence

from reasoner import Question, SamplingParams
from reasoner.engine import SampleRequest, UsageMeter
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.pooling import PoolingEngine
from reasoner.types import Completion, TokenIds
from reasoner.verifier import CostMeter
from reasoner_verifiers.prm import Prm
from reasoner_verifiers.reward.recipes import RewardInput

WIDTH, DEPTH, STEP = 4, 8, 24
SEPARATOR = "\n\n"
QUESTIONS = (
    "A shop sells 12 apples and 7 pears a day. How many fruits in 5 days? Explain every step.",
    "Write down, step by step, how to make a cup of tea.",
    "Tell a long story about a ship and a storm.",
)
PARAMS = SamplingParams(temperature=1.0, max_tokens=STEP)


async def grown(
    policy: VllmEngine, question: Question, beams: Sequence[Completion | None], seed: int
) -> list[Completion]:
    """Every beam continued `WIDTH` times by one step, the separator after it."""
    separator = await policy.encode(SEPARATOR) or ()

    async def continued(beam: Completion | None, index: int) -> Completion:
        prompt = question.prompt if beam is None else beam.prompt.then(beam)
        request = SampleRequest(question.id, prompt, await policy.render(prompt), PARAMS, index, seed + index)
        drawn = await policy.sample(request)
        ids = drawn.continuation + separator
        return dataclasses.replace(drawn, token_ids=ids, text=drawn.text + SEPARATOR, finish_reason="length")

    return list(
        await asyncio.gather(*(continued(beam, n * WIDTH + i) for n, beam in enumerate(beams) for i in range(WIDTH)))
    )


async def search(policy: VllmEngine, prm: Prm, question: Question) -> tuple[list[RewardInput], int, int]:
    """All paths in the order in which they were rated; the tokens computed for them, and the requests made."""
    beams: list[Completion | None] = [None]
    laid, tokens, requests = [], 0, 0
    for depth in range(DEPTH + 1):
        last = depth == DEPTH
        paths = [beam for beam in beams if beam] if last else await grown(policy, question, beams, seed=depth * 100)
        ratings = await asyncio.gather(*(prm.score(question, path, policy, CostMeter()) for path in paths))
        tokens += sum(rating.cost.verifier_tokens for rating in ratings)
        requests += sum(rating.cost.requests for rating in ratings)
        laid += [await prm.running.started.lay(question, path, policy) for path in paths]
        ranked = sorted(zip(paths, ratings, strict=True), key=lambda pair: -(pair[1].value or 0))
        beams = [path for path, _ in ranked[:WIDTH]]
    return laid, tokens, requests


async def again(engine: PoolingEngine, paths: Sequence[RewardInput], *, keep_steps: bool) -> tuple[int, int]:
    """Tokens and requests for the same paths where vLLM's prefix cache is not read."""
    known: set[TokenIds] = set()
    sent = []
    for path in paths:
        ends = {path.ids[: end + 1] for end in path.positions}
        if not (keep_steps and ends <= known):
            sent.append(path.ids)
        known |= ends
    meters = [UsageMeter() for _ in sent]
    rated = zip(sent, meters, strict=True)
    await asyncio.gather(*(engine.rows(ids, read_cache=False, meter=meter) for ids, meter in rated))
    return sum(meter.usage.prompt_tokens for meter in meters if meter.usage), len(sent)


async def main() -> None:
    policy = VllmEngine(max_model_len=1024, kv_gib=1.0)
    prm = Prm(model=sys.argv[1]) if len(sys.argv) > 1 else Prm()
    await prm.start(policy)
    engine = prm.running.started.engine
    totals: dict[str, list[int]] = {}

    def book(way: str, tokens: int, requests: int) -> None:
        totals[way] = [a + b for a, b in zip(totals.get(way, [0, 0]), (tokens, requests), strict=True)]

    different = rated = steps = 0
    for number, text in enumerate(QUESTIONS):
        paths, tokens, requests = await search(policy, prm, Question.of(text, id=str(number)))
        book("both caches (as it is)", tokens, requests)
        for way, keep_steps in (("step scores kept, no prefix cache", True), ("no cache", False)):
            tokens, requests = await again(engine, paths, keep_steps=keep_steps)
            book(way, tokens, requests)
        different += len({path.ids[: end + 1] for path in paths for end in range(len(path.ids))})
        rated += len(paths)
        steps += sum(len(path.positions) for path in paths)
    print(f"{rated} ratings of {steps} steps; {different:,} different tokens in the trees")
    print(f"{'':36}{'tokens computed':>16}{'requests':>10}{'of no cache':>13}")
    whole = totals["no cache"][0]
    for way, (tokens, requests) in totals.items():
        print(f"{way:36}{tokens:>16,}{requests:>10}{tokens / whole:>13.3f}")
    await prm.close()
    await policy.close()


if __name__ == "__main__":
    asyncio.run(main())
