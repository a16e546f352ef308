"""What `gpu.py` runs on: a model without weights, an engine with any vLLM argument, vLLM's own counters."""

import asyncio
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from reasoner import Answer, Question, SamplingParams
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.cores import AsyncCore
from reasoner.engines.vllm.engine import _vllm_params
from reasoner.execution.executor import derive_seed
from reasoner.strategy import Plan, Sample, cancel, next_finished, start
from reasoner.types import Completion

VOCABULARY = 49_152
"""The embedded model's, whose tokenizer is used."""
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


class Shape(NamedTuple):
    """The size of a Qwen3 model."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    window: int


SHAPES = {
    "qwen3-1.7b": Shape(28, 2048, 6144, 16, 8, 128, 40_960),
    "qwen3-8b": Shape(36, 4096, 12_288, 32, 8, 128, 40_960),
    "tiny": Shape(2, 64, 128, 2, 1, 64, 2048),
}


def write_model(folder: Path, shape: Shape, tokenizer: Path) -> None:
    """A model folder for `load_format=dummy`: its layers have the shape, its vocabulary is the tokenizer's."""
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": VOCABULARY,
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.window,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in TOKENIZER:
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)


@dataclass(slots=True)
class MeasuredEngine(VllmEngine):
    """An engine in a process of its own, whose statistics are kept."""

    def _new_core(self, build: Any, arguments: Any, *others: Any) -> Any:
        arguments.disable_log_stats = False
        return VllmEngine._new_core(self, build, arguments, *others)

    @property
    def async_core(self) -> AsyncCore:
        """The running core."""
        assert isinstance(self._core, AsyncCore)
        return self._core


@dataclass
class Rig:
    """The engine of the phases: started with the arguments that a phase asks for, kept as long as they are the same."""

    folder: Path
    window: int
    cpu: bool
    deadline: float
    memory: float = 0.7
    """The share of a GPU: what is left is for the process that is interrupted."""
    skipped: dict[str, str] = field(default_factory=dict)
    """What the running phase left out, and why."""
    stages: list[float] = field(default_factory=list)
    """When each stage of the last start began: importing vLLM, loading the model."""
    _engine: MeasuredEngine | None = None
    _arguments: Mapping[str, Any] = field(default_factory=dict)

    async def engine(self, **arguments: Any) -> MeasuredEngine:
        """The running engine if it has these arguments, else another one."""
        if self._engine is not None and self._arguments == arguments:
            return self._engine
        await self.close()
        defaults = {} if self.cpu else {"max_num_batched_tokens": 8192}
        engine = MeasuredEngine(
            model_id=str(self.folder),
            core="async",
            max_model_len=self.window,
            kv_gib=0.5,
            gpu_memory_utilization=self.memory,
            args={"load_format": "dummy", **defaults, **arguments},
        )
        self._engine, self._arguments, self.stages = engine, arguments, []
        engine.stage = lambda _: self.stages.append(time.perf_counter())
        await engine.start()
        return engine

    async def close(self) -> None:
        """Stop the engine, if there is one."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.wait_for(engine.close(), 60)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()


def counters() -> dict[str, float]:
    """VLLM's counters and gauges of the present, by name, summed over engines; the last engine has the gauges."""
    from vllm.v1.metrics.reader import Counter, Gauge, get_metrics_snapshot

    values: dict[str, float] = {}
    for metric in get_metrics_snapshot():
        if isinstance(metric, Counter | Gauge):
            name = metric.name.removeprefix("vllm:")
            values[name] = values.get(name, 0.0) + metric.value
    return values


async def request(
    engine: VllmEngine,
    question: Question,
    params: SamplingParams,
    index: int,
    **options: Any,
) -> SampleRequest:
    """The request that a run would make, with the same seed."""
    seed = derive_seed(0, question.id, question.prompt.digest, index)
    rendered = await engine.render(question.prompt)
    return replace(
        SampleRequest(question.id, question.prompt, rendered, params, index, seed),
        **options,
    )


async def draw(engine: VllmEngine, requests: list[SampleRequest]) -> list[Completion]:
    """The completions of all requests at once."""
    return list(await asyncio.gather(*(engine.sample(each) for each in requests)))


async def bare(engine: MeasuredEngine, jobs: list[SampleRequest]) -> tuple[int, float]:
    """All requests given to AsyncLLM itself, in its own loop: tokens and seconds."""
    core = engine.async_core

    async def generate(number: int, job: SampleRequest) -> int:
        prompt = {"prompt_token_ids": list(job.rendered.token_ids or ())}
        tokens = 0
        async for output in core._engine.generate(
            prompt,
            _vllm_params(job, thinks=False, streams=False),
            f"bare-{number}",
            priority=job.priority,
        ):
            tokens = len(output.outputs[0].token_ids)
        return tokens

    async def every() -> int:
        return sum(
            await asyncio.gather(
                *(generate(number, job) for number, job in enumerate(jobs))
            )
        )

    began = time.perf_counter()
    tokens = await asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(every(), core._loop)
    )
    return tokens, time.perf_counter() - began


@dataclass(frozen=True)
class CancelHalf:
    """As many long samples as short ones; the long ones are cancelled when the short ones are there."""

    uses_verifier: ClassVar[bool] = False

    n: int
    short: SamplingParams
    long: SamplingParams

    def plan(self, question: Question) -> Plan[Answer | None]:
        handles = []
        for params in (self.long, self.short):
            for _ in range(self.n):
                handle = yield from start(Sample((question.prompt,), params=params))
                handles.append(handle)
        for _ in range(self.n):
            yield from next_finished()
        for handle in handles[: self.n]:
            yield from cancel(handle)
        return None
