"""The load of a search on the engine: the share of prompt tokens from the prefix cache, and the sampling speed.

    python bench/search.py [ROUNDS]

16 stories at once, chains of up to 128 tokens in steps of 32, rated by `certainty`, which costs no tokens. The cache is
emptied before every run. Speed is against straight sampling of as many tokens from the same prompts, the two
alternating: in generated tokens per second, and in all that are computed, prompts too. At the end everything is run
once more with the prefix cache off.
"""

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from reasoner import Question, SamplingParams, solve_many
from reasoner.engine import reset_caches
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.served import CPU_BLOCK
from reasoner.registry import build
from reasoner.strategy import Strategy
from reasoner.trace.events import Event, Sampled
from reasoner.trace.replies import completions_in
from reasoner_strategies import SelfConsistency
from reasoner_verifiers import Certainty

LENGTH, STEP = 128, 32
CHAINS = f"max_tokens={LENGTH},step=,step_tokens={STEP},max_steps=4,temperature=0.8"
SPECS = (
    f"beam_search:n=8,width=4,{CHAINS}",
    f"dvts:n=8,width=4,{CHAINS}",
    f"rebase:n=8,{CHAINS}",
    f"particle_filter:n=8,{CHAINS}",
    f"mcts:k=4,simulations=10,concurrency=4,{CHAINS}",
)
THINGS = (
    "ship",
    "storm",
    "clock",
    "bridge",
    "garden",
    "letter",
    "tower",
    "river",
    "lamp",
    "piano",
    "map",
    "key",
    "train",
    "island",
    "mirror",
    "forest",
)


class Measured(NamedTuple):
    """One run over all questions: tokens generated, and all that were computed."""

    events: list[Event]
    seconds: float
    generated: int
    tokens: int


def questions() -> list[Question]:
    return [
        Question.of(
            f"Write a long story about a {thing} and how it was lost.", space="text"
        )
        for thing in THINGS
    ]


async def measured(
    engine: VllmEngine, strategy: Strategy, asked: list[Question]
) -> Measured:
    await reset_caches(engine)
    events: list[Event] = []
    began = time.perf_counter()
    verifier = Certainty() if strategy.uses_verifier else None
    solutions = await solve_many(
        asked, strategy, engine, verifier=verifier, trace=events.append
    )
    seconds = time.perf_counter() - began
    assert all(solution.error is None for solution in solutions), solutions[0].error
    generated = sum(
        s.cost.generated_tokens + s.cost.cancelled_tokens for s in solutions
    )
    return Measured(events, seconds, generated, sum(s.cost.tokens for s in solutions))


class Request(NamedTuple):
    """A prompt of the run: when it was asked for and answered, its depth in its tree, its tokens."""

    began: float
    ended: float
    depth: int
    prompt: tuple[int, ...]
    generated: tuple[int, ...]
    cached: int


async def requests(engine: VllmEngine, events: list[Event]) -> Iterator[Request]:
    """The requests of a run in the order in which they were made."""
    depths: dict[tuple[str, str], int] = {}
    sent = []
    for event, completion in completions_in(events):
        depth = depths.get((event.question_id, event.prompt), 0)
        depths.setdefault((event.question_id, event.child), depth + 1)
        ids = (await engine.render(completion.prompt)).token_ids or ()
        cached = completion.usage.cached_tokens
        sent.append(
            Request(
                event.t - event.cost.seconds,
                event.t,
                depth,
                ids,
                completion.token_ids,
                cached,
            )
        )
    return iter(sorted(sent))


def shares(asked: Iterator[Request]) -> dict[int, list[int]]:
    """By depth: prompt tokens, those from cache, and those that an ideal tree of whole blocks would share.

    A block counts as known from the moment its request was made where it is prompt, and from its end where it was
    generated; the last generated token is computed by nobody, and the last prompt token by everybody.
    """
    made = list(asked)
    ends = sorted(made, key=lambda request: request.ended)
    known: set[int] = set()
    by_depth: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    done = 0
    for request in made:
        while done < len(ends) and ends[done].ended <= request.began:
            known.update(blocks(ends[done].prompt + ends[done].generated[:-1]))
            done += 1
        hits = 0
        for number, block in enumerate(blocks(request.prompt[:-1]), 1):
            if block not in known:
                break
            hits = number * CPU_BLOCK
        known.update(blocks(request.prompt))
        row = by_depth[request.depth]
        row[0] += len(request.prompt)
        row[1] += request.cached
        row[2] += hits
    return by_depth


def blocks(ids: tuple[int, ...]) -> Iterator[int]:
    """The hash of each whole block with all before it."""
    before = 0
    for end in range(CPU_BLOCK, len(ids) + 1, CPU_BLOCK):
        before = hash((before, ids[end - CPU_BLOCK : end]))
        yield before


class Ratios(NamedTuple):
    """Searching over straight sampling, a round each: generated tokens per second, and all computed ones."""

    generated: list[float]
    computed: list[float]


async def speeds(
    engine: VllmEngine, spec: str, rounds: int, asked: list[Question]
) -> tuple[Ratios, Measured]:
    """How fast searching is, and the last search."""
    strategy: Strategy = build("strategy", spec)
    search = await measured(engine, strategy, asked)
    straight = SelfConsistency(1, SamplingParams(temperature=0.8, max_tokens=LENGTH))
    single = await measured(engine, straight, asked)
    straight = SelfConsistency(
        max(1, round(search.generated / single.generated)), straight.params
    )
    ratios = Ratios([], [])
    for turn in range(rounds):
        runs: dict[str, Measured] = {}
        for way in ("search", "straight") if turn % 2 else ("straight", "search"):
            runs[way] = await measured(
                engine, strategy if way == "search" else straight, asked
            )
        search, other = runs["search"], runs["straight"]
        slower = search.seconds / other.seconds
        ratios.generated.append(search.generated / other.generated / slower)
        ratios.computed.append(search.tokens / other.tokens / slower)
    return ratios, search


def computed(run: Measured) -> int:
    """Prompt tokens that were not in the cache."""
    usages = [event.usage for event in run.events if isinstance(event, Sampled)]
    return sum(usage.prompt_tokens - usage.cached_tokens for usage in usages)


async def main(rounds: int) -> None:
    asked = questions()
    engine = VllmEngine(max_model_len=1024)
    await engine.start()
    runs: dict[str, Measured] = {}
    for spec in SPECS:
        ratios, run = await speeds(engine, spec, rounds, asked)
        runs[spec] = run
        by_depth = shares(await requests(engine, run.events))
        prompt, cached, ideal = (
            sum(row[column] for row in by_depth.values()) for column in range(3)
        )
        name = spec.partition(":")[0]
        depths = " ".join(
            f"{row[1] / row[2]:.2f}" for _, row in sorted(by_depth.items()) if row[2]
        )
        generated, every = (
            f"{statistics.median(each):.2f} ({', '.join(f'{ratio:.2f}' for ratio in sorted(each))})"
            for each in ratios
        )
        print(
            f"{name}: {run.generated:,} tokens, {run.generated / run.seconds:.0f} tok/s, ratio to straight "
            f"{generated}, of all computed {every}; prompts {prompt:,}, cached {cached:,}, ideally {ideal:,}: "
            f"{cached / ideal:.3f}; by depth {depths}",
            flush=True,
        )
    await engine.close()
    engine = VllmEngine(max_model_len=1024, args={"enable_prefix_caching": False})
    await engine.start()
    for spec in SPECS:
        with_cache, run = (
            runs[spec],
            await measured(engine, build("strategy", spec), asked),
        )
        name, off, on = spec.partition(":")[0], computed(run), computed(with_cache)
        fast, slow = (each.generated / each.seconds for each in (with_cache, run))
        print(
            f"{name}, cache off: {off:,} prompt tokens computed for {on:,} with it; {slow:.0f} tok/s for {fast:.0f}",
            flush=True,
        )
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
