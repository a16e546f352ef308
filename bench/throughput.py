"""Tokens per second of `solve_many` against the same requests sent straight to vLLM, and the prefix cache's share.

    python bench/throughput.py [ROUNDS]

32 questions x 8 samples, with and without a 600-token document before each question. Three ways alternate in one
process on one engine, whose prefix cache is emptied before every round, so that what else the machine does hits all:
through the runner, straight to vLLM, and straight without a seed for each request. Requests, steps of the engine and
tokens that its model computed are exact on any machine; seconds need a quiet one.
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
DOCUMENT = (
    "The harbour master wrote down every ship that came in, its cargo and the name of its captain. "
    * 29
)


def questions(document: str) -> list[Question]:
    """32 sums, each about the same document; no reply is probed, which would be other requests."""
    return [
        Question.of(
            f"What is {2 + n % 8} + {3 + n // 8}? This is question {n}.",
            context=document,
            space="number:extract=rules",
        )
        for n in range(32)
    ]


def in_core(core: InProcessCore, work: Any) -> Any:
    """Run `work(vllm_engine)` in the thread that owns vLLM."""
    return core._between_steps(lambda: work(core._engine)).result()


class Run(NamedTuple):
    """Generated tokens, seconds of the clock, processor seconds of all threads and of this one, and what was computed.

    That is the engine's steps, and the tokens of all of them.
    """

    tokens: int
    wall: float
    processor: float
    ours: float
    steps: int = 0
    computed: int = 0

    @property
    def rate(self) -> float:
        return self.tokens / self.wall


def now() -> tuple[float, float, float]:
    return time.perf_counter(), time.process_time(), time.thread_time()


def since(began: tuple[float, float, float], tokens: int) -> Run:
    wall, processor, ours = (
        end - start for start, end in zip(began, now(), strict=True)
    )
    return Run(tokens, wall, processor, ours)


class Meter:
    """Reads what vLLM is asked for, and the size of each of its steps."""

    def __init__(self, vllm: Any) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.sizes: list[int] = []
        scheduler = vllm.engine_core.engine_core.scheduler
        add, schedule = vllm.add_request, scheduler.schedule

        def add_request(name: str, prompt: Any, params: Any, **options: Any) -> Any:
            self.asked.append((prompt["prompt_token_ids"], repr(params), options))
            return add(name, prompt, params, **options)

        def scheduled(*given: Any) -> Any:
            step = schedule(*given)
            self.sizes.append(step.total_num_scheduled_tokens)
            return step

        vllm.add_request, scheduler.schedule = add_request, scheduled

    def read(self, run: Run) -> tuple[Run, list[tuple[Any, ...]]]:
        """A run with what was computed in it, and what was asked for; then both are forgotten."""
        sizes, self.sizes = [size for size in self.sizes if size], []
        asked, self.asked = sorted(self.asked, key=repr), []
        return run._replace(steps=len(sizes), computed=sum(sizes)), asked


async def straight(
    engine: VllmEngine, asked: list[Question], *, seeded: bool = True
) -> Run:
    """All requests handed to vLLM at once and stepped to the end."""
    jobs = []
    for number, question in enumerate(asked):
        rendered = await engine.render(question.prompt)
        for index in range(SAMPLES):
            seed = derive_seed(0, question.id, question.prompt.digest, index)
            request = SampleRequest(
                question.id, question.prompt, rendered, PARAMS, index, seed
            )
            params = _vllm_params(request, thinks=False, streams=False)
            params.seed = seed if seeded else None
            jobs.append(
                (f"{number}-{index}", list(rendered.token_ids or ()), params, number)
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


async def through_runner(
    engine: VllmEngine, asked: list[Question]
) -> tuple[Run, list[Event]]:
    """The same through `solve_many`, trace included."""
    events: list[Event] = []
    began = now()
    solutions = await solve_many(
        asked, SelfConsistency(n=SAMPLES, params=PARAMS), engine, trace=events.append
    )
    return since(began, sum(s.cost.generated_tokens for s in solutions)), events


async def cached_share(
    engine: VllmEngine, asked: list[Question], events: list[Event]
) -> tuple[int, int, int]:
    """Prompt tokens, those served from cache, and those an ideal prefix tree would share in whole blocks."""
    size = 32
    of = {
        question.id: (await engine.render(question.prompt)).token_ids or ()
        for question in asked
    }
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
    meter = in_core(core, Meter)
    for label, document in (("no document", ""), ("600-token document", DOCUMENT)):
        asked = questions(document)
        await straight(engine, asked[:4])
        rounds_of: dict[str, list[Run]] = {
            "runner": [],
            "straight": [],
            "without seeds": [],
        }
        requests = {}
        meter.read(Run(0, 0, 0, 0))
        for turn in range(rounds):
            for way in list(rounds_of)[:: 1 if turn % 2 else -1]:
                in_core(core, lambda vllm: vllm.reset_prefix_cache())
                if way == "runner":
                    run, events = await through_runner(engine, asked)
                else:
                    run = await straight(engine, asked, seeded=way == "straight")
                run, requests[way] = meter.read(run)
                rounds_of[way].append(run)
        for way, runs in rounds_of.items():
            rate, processor, tokens, steps, computed = (
                statistics.median(values)
                for values in zip(
                    *(
                        (r.rate, r.processor, r.tokens, r.steps, r.computed)
                        for r in runs
                    ),
                    strict=True,
                )
            )
            print(
                f"{label}: {way} {rate:.0f} tok/s, {processor:.1f} processor s, {tokens:,.0f} tokens; ",
                end="",
            )
            print(f"{steps:.0f} steps of the engine, {computed:,.0f} tokens computed")
        same = "the same" if requests["runner"] == requests["straight"] else "other"
        print(f"{label}: the runner sends {same} requests ({len(requests['runner'])})")
        shares = sorted(run.ours / run.processor for run in rounds_of["runner"])
        print(
            f"{label}: the runner's thread takes {statistics.median(shares):.2%} of the processor time"
        )
        for ours, bare in (("runner", "straight"), ("straight", "without seeds")):
            pairs = list(zip(rounds_of[ours], rounds_of[bare], strict=True))
            print(
                f"{label}: {ours} over {bare}, tokens a second {ratio([a.rate / b.rate for a, b in pairs])}"
            )
            spent = [a.processor / a.tokens * b.tokens / b.processor for a, b in pairs]
            print(
                f"{label}: {ours} over {bare}, processor seconds a token {ratio(spent)}"
            )
        prompt, cached, ideal = await cached_share(engine, asked, events)
        print(
            f"{label}: {prompt:,} prompt tokens, {cached:,} from cache, {ideal:,} ideally: {cached / ideal:.3f}"
        )
    await engine.close()


def ratio(values: list[float]) -> str:
    """The median, and all of them."""
    return f"{statistics.median(values):.3f} ({', '.join(f'{value:.3f}' for value in sorted(values))})"


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 6))
