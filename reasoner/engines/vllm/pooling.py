"""A reward model on vLLM's pooling runner, in a separate process next to the model that it rates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reasoner.engine import Engine, EngineError, TokenIds, Usage, UsageMeter
from reasoner.engines.vllm.arguments import OWNED
from reasoner.engines.vllm.build import Build, CoreLog
from reasoner.engines.vllm.cores import CoreJob, PoolingCore
from reasoner.engines.vllm.served import VllmModel
from reasoner.errors import UsageError
from reasoner.models.resolve import ResolvedModel
from reasoner.specs import Range
from reasoner.system.child_processes import in_daemon
from reasoner.types import Prompt


class PooledOutputs(NamedTuple):
    """The raw outputs at each position from `first` on, [positions, labels], before any activation."""

    first: int
    rows: NDArray[np.float32]
    usage: Usage


@dataclass(slots=True)
class PoolingEngine(VllmModel):
    """One reward model served by vLLM, many sequences at once, prefixes shared.

    `task` "token_classify" rates every token, "classify" the last one. `pooling` are further settings of vLLM's
    `PoolerConfig`. The other options are those of `VllmEngine`; `gpu_memory_utilization` 0 takes what the weights need
    next to the policy's.
    """

    role: ClassVar[str] = "the reward model"
    claimed_as: ClassVar[str] = "the reward model's"
    owned: ClassVar[Mapping[str, str]] = OWNED | {
        "pooler_config": "the recipe decides which outputs are read"
    }

    kv_gib: Annotated[float, Range(above=0)] = 0.5
    task: Literal["token_classify", "classify"] = "token_classify"
    pooling: Mapping[str, Any] = field(default_factory=dict)

    def complete(self) -> None:
        VllmModel.complete(self)
        if self.gpu_memory_utilization == 1:
            raise UsageError(
                "gpu_memory_utilization=1 leaves nothing to the policy: give less than 1"
            )

    async def start(self, policy: Engine | None = None) -> None:
        """Start the model next to `policy`, which is started first; or start it again after it died.

        Raises:
            UsageError: the two do not fit this machine together.
            EngineUnavailable: it cannot be started; the message says what to do.
        """
        if self._core is None:
            if policy is not None:
                await policy.start()
            await in_daemon(self.start_core)

    def _new_core(self, build: Build, arguments: Any, log: CoreLog) -> PoolingCore:
        return PoolingCore(arguments, log)

    def _own_settings(self, build: Build) -> dict[str, Any]:
        return {
            "runner": "pooling",
            "pooler_config": {"task": self.task, **self.pooling},
            "enable_prefix_caching": True,
        }

    def _gpu_share(self, resolved: ResolvedModel) -> float:
        if self._claim is None:
            # The share of a GPU's memory that is taken next to a policy about which nothing is known
            return self.gpu_memory_utilization or 0.2
        return self.gpu.take(self._claim)

    async def render(self, prompt: Prompt, *, reply: bool = False) -> TokenIds:
        """A prompt's raw text, or its chat by the model's own template; with `reply` up to where the next turn begins.

        Raises:
            EngineError: it is a chat, and the model has no chat template or its template refuses the chat.
        """
        if prompt.raw:
            return self._prompts.raw(prompt.raw)
        if not self._prompts.renders_chats:
            raise EngineError(
                f"the reward model {self.model.name} has no chat template: choose another recipe"
            )
        return self._chat(prompt.messages, reply=reply)

    async def encode(self, text: str) -> TokenIds:
        """The ids of a piece of text, without any that a prompt would begin with."""
        return self._prompts.encode(text)

    def decode(self, ids: TokenIds) -> str:
        """The text of token ids, special tokens included."""
        return self._prompts.decode(ids)

    async def rows(
        self, ids: TokenIds, *, read_cache: bool, meter: UsageMeter
    ) -> PooledOutputs:
        """Rate one sequence: at every position, or from the first that was not in the prefix cache with `read_cache`.

        Cancelling the awaiting task aborts it; the meter is then None, as vLLM does not report what it computed.

        Raises:
            EngineError: it failed; the meter holds what it cost.
        """
        await self.start()
        core = self._core
        assert core is not None
        job = CoreJob(
            f"rate-{next(self._names)}", ids, self._params(read_cache=read_cache), 0
        )
        meter.usage = None
        output = await self._output(core, job, meter)
        meter.usage = usage = Usage(
            len(output.prompt_token_ids), output.num_cached_tokens or 0, 0
        )
        rows = output.outputs.data.float().numpy()
        rows = rows.reshape(-1, rows.shape[-1])
        return PooledOutputs(usage.prompt_tokens - len(rows), rows, usage)

    def _params(self, *, read_cache: bool) -> Any:
        from vllm import PoolingParams

        # The recipe reads the raw outputs, so no activation is applied here.
        return PoolingParams(
            task=self.task,
            use_activation=False,
            skip_reading_prefix_cache=not read_cache,
        )
