"""Runs a reward model: chooses its engine, starts it beside the policy, computes scores that are not cached."""

import asyncio
import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import special

from reasoner import Completion, Cost, Question
from reasoner.engine import Engine, TokenIds, Usage, UsageMeter, reset_caches
from reasoner.engines import say_nothing
from reasoner.engines.vllm.arguments import OPEN, check_args
from reasoner.engines.vllm.build import installed_build
from reasoner.engines.vllm.pooling import PoolingEngine
from reasoner.errors import UsageError, VerifierError
from reasoner.models.geometry import DType
from reasoner.models.resolve import resolve
from reasoner.registry import options_of
from reasoner.specs import CheckedOptions, OpenOptions
from reasoner.system.child_processes import in_daemon
from reasoner.types import Notify, Part
from reasoner.verifier import CostMeter, verifier_cost
from reasoner_verifiers.reward.checkpoint import serving_folder
from reasoner_verifiers.reward.recipes import (
    HEAD,
    Case,
    Recipe,
    RewardInput,
    choose,
    lay,
)

EMBEDDED_HEAD = Path(__file__).parent / "heads" / "smollm2-135m-instruct.safetensors"
"""The head that comes with this package, for the embedded model."""
# Tokenizers that encode this text equally count as the same: digits, spaces, capitals, accents, other scripts, LaTeX.
_PROBE = "Then  12,345 + 0.5 = \\frac{a}{b}\n\n\tNaïve 数学 <|im_end|> I'll re-check."


Compute = Callable[[Sequence[int], bool], Awaitable[Sequence[float]]]
"""The values of the keys at these indices; the flag says that some were computed before and lost."""


def step_keys(ids: TokenIds, positions: Sequence[int]) -> Iterator[bytes]:
    """A key per position, in rising order: the SHA-256 of all token ids up to the position."""
    hashed, done = hashlib.sha256(), 0
    for position in positions:
        hashed.update(np.asarray(ids[done : position + 1], dtype="<i8").tobytes())
        done = position + 1
        yield hashed.copy().digest()


class StepCache:
    """Scores by key. The first score of a key is kept: a later one may differ by the numerics of its batch.

    It holds `size` scores and drops the least recently used. Concurrent requests for a key share its computation.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        # None marks a score whose computation did not complete.
        self._values: OrderedDict[bytes, float | None] = OrderedDict()
        self._flights: dict[bytes, asyncio.Future[None]] = {}

    def clear(self) -> None:
        """Drop all scores; no computation may be running."""
        self._values.clear()

    async def fill(self, keys: Sequence[bytes], compute: Compute) -> tuple[float, ...]:
        """The scores of `keys`; missing ones come from `compute`."""
        scores: dict[int, float] = {}
        while missing := self._look(keys, scores):
            flight = next(
                (
                    self._flights[keys[index]]
                    for index in missing
                    if keys[index] in self._flights
                ),
                None,
            )
            if flight is None:
                computed = await self._compute(
                    [keys[index] for index in missing], missing, compute
                )
                scores |= zip(missing, computed, strict=True)
                break
            # Not awaited directly: cancelling this rating must not cancel it for the others.
            await asyncio.wait([flight])
        return tuple(scores[index] for index in range(len(keys)))

    def _look(self, keys: Sequence[bytes], scores: dict[int, float]) -> list[int]:
        """Add the cached scores to `scores`; the indices of the others."""
        for index, key in enumerate(keys):
            value = self._values.get(key)
            if value is not None and index not in scores:
                scores[index] = value
                self._values.move_to_end(key)
        return [index for index in range(len(keys)) if index not in scores]

    async def _compute(
        self, keys: Sequence[bytes], missing: Sequence[int], compute: Compute
    ) -> Sequence[float]:
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flights |= dict.fromkeys(keys, flight)
        outcome: Sequence[float | None] = [None] * len(keys)
        try:
            outcome = scores = await compute(
                missing, any(key in self._values for key in keys)
            )
        finally:
            for key, value in zip(keys, outcome, strict=True):
                self._flights.pop(key, None)
                self._values[key] = value
            while len(self._values) > self.size:
                self._values.popitem(last=False)
            flight.set_result(None)
        return scores


@dataclass(slots=True)
class RewardModel:
    """A reward model and its recipe, with a cache of its scores; `policy_ids`: it reads the policy's token ids."""

    recipe: Recipe
    engine: PoolingEngine
    separator: str
    part: Part
    policy_ids: bool
    cache: StepCache

    @classmethod
    async def ready(
        cls, engine: PoolingEngine, recipe: Recipe, options: Any, policy: Engine
    ) -> "RewardModel":
        """The model of a started engine, by the options of a `RewardVerifier`."""
        for text, expected in recipe.tokens.items():
            ids = await engine.encode(text)
            if ids != (expected,):
                raise UsageError(
                    f"{options.model!r} is not a {recipe.name} model: {text!r} should be token {expected} but is "
                    f"{list(ids)}; choose another recipe"
                )
        own_ids = recipe.layout == "own_ids" and await policy.encode(
            _PROBE
        ) == await engine.encode(_PROBE)
        # As many scores as the engine caches tokens: a score that is dropped here has then been evicted there too.
        cache = StepCache(max(100_000, engine.capacity))
        return cls(recipe, engine, options.separator, options.part, own_ids, cache)

    async def lay(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> RewardInput:
        """The candidate in the form that this model reads."""
        case = Case(
            question,
            candidate,
            self.separator,
            policy if self.policy_ids else None,
            self.part,
        )
        laid, room = (
            await lay(self.recipe, self.engine, case),
            self.engine.model.context,
        )
        if len(laid.ids) > room > 0:
            raise VerifierError(
                f"the candidate is {len(laid.ids):,} tokens and the reward model's context is {room:,}"
            )
        return laid

    def bound(self, laid: RewardInput) -> Cost:
        """The maximum cost of scoring, with nothing cached.

        The tokens also count as cached ones, because a budget in dollars pays for those too.
        """
        cost = verifier_cost(self.engine.model, Usage(len(laid.ids)))
        return dataclasses.replace(cost, cached_tokens=cost.verifier_tokens)

    async def scores(
        self, laid: RewardInput, cost_meter: CostMeter
    ) -> tuple[float, ...]:
        """A score for each position; the meter gets the cost, which is 0 for cached scores."""
        cost_meter.cost = Cost()
        keys = tuple(step_keys(laid.ids, laid.positions))
        return await self.cache.fill(keys, partial(self._compute, laid, cost_meter))

    async def _compute(
        self,
        laid: RewardInput,
        cost_meter: CostMeter,
        missing: Sequence[int],
        lost: bool,
    ) -> list[float]:
        meter = UsageMeter()
        cost_meter.cost = None
        try:
            # The engine reports nothing for positions in its prefix cache. Cached scores are not requested; scores
            # that were computed and lost are computed again without the prefix cache.
            ids = laid.ids[: laid.positions[missing[-1]] + 1]
            pooled = await self.engine.rows(ids, read_cache=not lost, meter=meter)
        finally:
            cost_meter.cost = (
                None
                if meter.usage is None
                else verifier_cost(self.engine.model, meter.usage)
            )
        if laid.positions[missing[0]] < pooled.first:
            raise VerifierError(
                f"the reward model reported nothing before token {pooled.first}, and a step ends at token "
                f"{laid.positions[missing[0]]}: score it again"
            )
        return [
            self._read(pooled.rows[laid.positions[at] - pooled.first].tolist())
            for at in missing
        ]

    def _read(self, row: Sequence[float]) -> float:
        """A score in [0, 1] from the model's output at one position."""
        wanted = 1 if self.recipe.reading == "sigmoid" else 2
        if len(row) != wanted:
            raise VerifierError(
                f"{self.recipe.name} reads {wanted} labels and the model gives {len(row)}"
            )
        return float(special.expit(row[0] if wanted == 1 else row[1] - row[0]))


@dataclass(slots=True)
class RunningModel:
    """The reward model of one verifier, from `start` to `close`."""

    model: RewardModel | None = None
    notify: Notify | None = None
    engine: PoolingEngine | None = None
    recipe: Recipe | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def started(self) -> RewardModel:
        """The model; `start` must have been called."""
        if self.model is None:
            raise VerifierError("the reward model was not started")
        return self.model

    async def start(self, options: Any, policy: Engine) -> None:
        """Find the model that the options of a `RewardVerifier` name, and start it beside the policy.

        Raises:
            UsageError: the options name no model, or one that does not fit beside the policy.
            EngineUnavailable: it cannot be started; the message says what to do.
        """
        if self.model is not None:
            return
        await in_daemon(lambda: self.find(options, policy))
        engine, recipe = self.engine, self.recipe
        assert engine is not None
        assert recipe is not None
        await engine.start(policy)
        model = await RewardModel.ready(engine, recipe, options, policy)
        # If several start it concurrently, all use the first one's model and cache.
        self.model = self.model or model

    def find(self, options: Any, policy: Engine) -> None:
        """Choose the engine once, also when called concurrently, and let it claim its part of the policy's GPU."""
        with self._lock:
            if self.engine is not None:
                return
            notify = self.notify or getattr(policy, "notify", None) or say_nothing
            is_head = options.model == "embedded" or options.model.endswith(
                ".safetensors"
            )
            folder = None if is_head else resolve(options.model, notify).folder
            recipe, source = (
                choose(options.recipe, options.model, folder, options.rates),
                options.model,
            )
            if recipe is HEAD and is_head:
                file = (
                    EMBEDDED_HEAD
                    if options.model == "embedded"
                    else Path(options.model).expanduser()
                )
                source = str(serving_folder(file, notify))
            engine = PoolingEngine(
                source,
                task=recipe.task,
                pooling=recipe.pooling,
                max_model_len=options.max_model_len,
                kv_gib=options.kv_gib,
                gpu_memory_utilization=options.gpu_memory_utilization,
                dtype=options.dtype,
                args=options.args,
            )
            engine.notify = notify
            engine.share_gpu(policy)
            self.engine, self.recipe = engine, recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardVerifier(CheckedOptions):
    """A verifier that rates by a reward model beside the policy; without a call of `start` it starts the model itself.

    Subclasses have `model`, `recipe`, `rates`, `separator` and `part` as attributes.
    """

    open_options: ClassVar[OpenOptions] = OPEN
    logprobs: ClassVar[None] = None

    max_model_len: int = 0
    kv_gib: float = 0.5
    gpu_memory_utilization: float = 0.0
    dtype: DType = "auto"
    args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    running: RunningModel = field(
        default_factory=RunningModel, init=False, repr=False, compare=False
    )

    def complete(self) -> None:
        check_args(self.args, options_of(type(self)), PoolingEngine.owned)

    async def claim_memory(self, policy: Engine) -> None:
        """Claim the reward model's share of the policy's GPU, before the policy starts."""
        build = installed_build()
        if self.running.model is None and build is not None and not build.cpu:
            await in_daemon(lambda: self.running.find(self, policy))

    async def start(self, policy: Engine) -> None:
        """Start the reward model beside the policy."""
        await self.running.start(self, policy)

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        """The cost of reading every token, with nothing cached."""
        await self.start(policy)
        model = self.running.started
        return model.bound(await model.lay(question, candidate, policy))

    async def _scores(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> tuple[float, ...]:
        await self.start(policy)
        model = self.running.started
        return await model.scores(
            await model.lay(question, candidate, policy), cost_meter
        )

    async def reset_caches(self) -> None:
        """Drop all scores, and the reward model's prefix cache."""
        running = self.running
        if running.model is not None:
            running.model.cache.clear()
            await reset_caches(running.engine)

    async def close(self) -> None:
        """Stop the reward model."""
        running = self.running
        engine, running.engine, running.model = running.engine, None, None
        if engine is not None:
            await engine.close()
