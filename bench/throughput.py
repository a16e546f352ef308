"""Tokens per second of `solve_many` against the same requests sent straight to vLLM, and the prefix cache's share.

    python bench/throughput.py [ROUNDS]

32 questions x 8 samples, with and without a 600-token document before each question. The two ways alternate in one
process on one engine whose prefix cache is emptied before every round, so that what else the machine does hits both.
"""

import asyncio
import statistics
import sys
import time
from typing import Any, NamedTuple

from reasoner import Question, SamplingParams, solve_many
from reasoner.engine import SampleRequest
from reasoner.engines.vllm.cores import InProcessCore
from reasoner.engines.vllm.engine import VllmEngine, _vllm_params
from reasoner.execution.executor import derive_seed
from reasoner.trace.events import Event, Sampled
from reasoner_strategies import SelfConsistency

SAMPLES = 8
# With a temperature: one that is not given is the model's own in the runner, and 1 in vLLM.
PARAMS = SamplingParams(temperature=0.7, max_tokens=64)
DOCUMENT = "The harbour master wrote down every ship that came in, its cargo and the name of its captain. " * 29


def questions(document: str) -> list[Question]:
    """32 sums, each about the same document; no reply is probed, which would be other requests."""
    return [
        Question.of(
            f"What is {2 + n % 8} + {3 + n // 8}? This is question {n}.", context=document, space="number:extract=rules"
        )
        for n in range(32)
    ]


def in_core(core: InProcessCore, work: Any) -> Any:
    """Run `work(vllm_engine)` in the thread that owns vLLM."""
    return core._between_steps(lambda: work(core._engine)).result()


class Run(NamedTuple):
    """Generated tokens, seconds of the clock, and processor seconds of all threads and of the one that is ours."""

    tokens: int
    wall: float
    processor: float
    ours: float

    @property
    def rate(self) -> float:
        return self.tokens / self.wall


def now() -> tuple[float, float, float]:
    return time.perf_counter(), time.process_time(), time.thread_time()


def since(began: tuple[float, float, float], tokens: int) -> Run:
    return Run(tokens, *(end - start for start, end in zip(began, now(), strict=True)))


async def straight(engine: VllmEngine, asked: list[Question]) -> Run:
    """All requests handed to vLLM at once and stepped to the end."""
    jobs = []
    for number, question in enumerate(asked):
        rendered = await engine.render(question.prompt)
        for index in range(SAMPLES):
            seed = derive_seed(0, question.id, question.prompt.digest, index)
            request = SampleRequest(question.id, question.prompt, rendered, PARAMS, index, seed)
            jobs.append(
                (
                    f"{number}-{index}",
                    list(rendered.token_ids or ()),
                    _vllm_params(request, thinks=False, streams=False),
                    number,
                )
            )

    def run(vllm: Any) -> Run:
        began = now()
        for name, ids, params, priority in jobs:
            vllm.add_request(name, {"prompt_token_ids": ids}, params, priority=priority)
        tokens = 0
        while vllm.has_unfinished_requests():
            tokens += sum(len(output.outputs[0].token_ids) for output in vllm.step())
        return since(began, tokens)

    result: Run = in_core(engine._core, run)  # type: ignore[arg-type]
    return result


async def through_runner(engine: VllmEngine, asked: list[Question]) -> tuple[Run, list[Event]]:
    """The same through `solve_many`, trace included."""
    events: list[Event] = []
    began = now()
    solutions = await solve_many(asked, SelfConsistency(n=SAMPLES, params=PARAMS), engine, trace=events.append)
    return since(began, sum(s.cost.generated_tokens for s in solutions)), events


async def cached_share(engine: VllmEngine, asked: list[Question], events: list[Event]) -> tuple[int, int, int]:
    """Prompt tokens, those served from cache, and those an ideal prefix tree would share in whole blocks."""
    size = 32
    of = {question.id: (await engine.render(question.prompt)).token_ids or () for question in asked}
    seen: set[tuple[int, ...]] = set()
    prompt = cached = ideal = 0
    for event in events:
        if not isinstance(event, Sampled):
            continue
        ids = of[event.question_id]
        prompt += event.usage.prompt_tokens
        cached += event.usage.cached_tokens
        # The last token is always computed: its logits are what the first sampled token comes from.
        ends = range(size, (len(ids) - 1) // size * size + 1, size)
        ideal += max((end for end in ends if ids[:end] in seen), default=0)
        seen.update(ids[:end] for end in ends)
    return prompt, cached, ideal


async def main(rounds: int) -> None:
    engine = VllmEngine(max_model_len=2048)
    await engine.start()
    core = engine._core
    assert isinstance(core, InProcessCore)
    for label, document in (("no document", ""), ("600-token document", DOCUMENT)):
        asked = questions(document)
        await straight(engine, asked[:4])
        rounds_of: dict[str, list[Run]] = {"straight": [], "runner": []}
        for turn in range(rounds):
            for way in ("straight", "runner") if turn % 2 else ("runner", "straight"):
                in_core(core, lambda vllm: vllm.reset_prefix_cache())
                if way == "straight":
                    rounds_of[way].append(await straight(engine, asked))
                else:
                    run, events = await through_runner(engine, asked)
                    rounds_of[way].append(run)
        prompt, cached, ideal = await cached_share(engine, asked, events)
        for way, runs in rounds_of.items():
            rate = statistics.median(run.rate for run in runs)
            processor = statistics.median(run.processor for run in runs)
            tokens = statistics.median(run.tokens for run in runs)
            print(f"{label}: {way} {rate:.0f} tok/s, {processor:.1f} processor s, {tokens:,.0f} tokens")
        shares = sorted(run.ours / run.processor for run in rounds_of["runner"])
        print(f"{label}: the runner's thread takes {statistics.median(shares):.2%} of the processor time")
        pairs = list(zip(rounds_of["runner"], rounds_of["straight"], strict=True))
        for what, ratios in (
            ("tokens a second", [ours.rate / bare.rate for ours, bare in pairs]),
            (
                "processor seconds a token",
                [ours.processor / ours.tokens * bare.tokens / bare.processor for ours, bare in pairs],
            ),
        ):
            spread = ", ".join(f"{ratio:.3f}" for ratio in sorted(ratios))
            print(f"{label}: {what}, runner over straight: median {statistics.median(ratios):.3f} ({spread})")
        print(f"{label}: {prompt:,} prompt tokens, {cached:,} from cache, {ideal:,} ideally: {cached / ideal:.3f}")
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 6))
