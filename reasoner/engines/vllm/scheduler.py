"""What vLLM's core loads by name as its scheduler: log-probabilities are summed, and kept until a sequence ends."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import FinishReason
from vllm.v1.outputs import LogprobsLists
from vllm.v1.request import RequestStatus

from reasoner.stopping.confidence import ConfidenceFloor

_NONE: Final = np.empty(0, np.int32)


def new_scheduler(vllm_config: Any, **options: Any) -> Any:
    """The scheduler of vLLM that fits a configuration, with `LateLogprobs`.

    Raises:
        ValueError: the model generates by diffusion, which needs another one.
    """
    if vllm_config.diffusion_config is not None:
        raise ValueError(
            "a model that generates by diffusion cannot be used: choose one that generates token by token"
        )
    own = AsyncScheduler if vllm_config.scheduler_config.async_scheduling else Scheduler
    return type("LateScheduler", (LateLogprobs, own), {})(
        vllm_config=vllm_config, **options
    )


class LateLogprobs:
    """Keeps the log-probabilities of a sequence in vLLM's core until it ends, and then sends them as one table.

    vLLM sends three arrays for each token, and to read them takes the driver twice the time of the rest of its work.
    Nothing is kept of sequences that are read as they come, and of those that end outside the core, at a stop string.

    A sequence with a confidence floor among its `extra_args` ends below it, with all tokens of that step.
    """

    requests: dict[str, Any]
    finish_requests: Callable[[str, Any], Any]

    def update_from_output(self, scheduled: Any, computed: Any) -> dict[int, Any]:
        """What a step sends to each client."""
        # A request that ends in this step is forgotten in it.
        running = dict(self.requests) if computed.logprobs is not None else {}
        sent: dict[int, Any] = super().update_from_output(scheduled, computed)  # type: ignore[misc] # the scheduler's
        for outputs in sent.values() if running else ():
            for output in outputs.outputs:
                if output.new_logprobs is not None and _keep(
                    output, running[output.request_id]
                ):
                    self.finish_requests(
                        output.request_id, RequestStatus.FINISHED_ABORTED
                    )
        return sent


def _keep(output: Any, request: Any) -> bool:
    """Move the log-probabilities of an output to its request, or all that are there to its last output.

    Returns whether that is its last because the sequence fell below its floor.
    """
    params, kept = request.sampling_params, vars(request)
    # A row has as many columns as the request of the batch that asked for most.
    own, below = output.new_logprobs.logprobs[:, : 1 + params.num_logprobs], False
    if (
        floor := (params.extra_args or {}).get("floor")
    ) and output.finish_reason is None:
        cut = kept.get("cut") or kept.setdefault("cut", ConfidenceFloor(*floor).watch())
        if below := any(map(cut, own[:, 1:].tolist())):
            output.finish_reason = FinishReason.ABORT
    if params.output_kind == RequestOutputKind.FINAL_ONLY and not (
        params.stop or params.logprob_token_ids
    ):
        rows = kept.setdefault("rows", bytearray())
        rows += own.astype(np.float32).tobytes()
        output.new_logprobs = None
        if output.finish_reason is not None:
            # As many digits as a number of 32 bits has: written in 64 bits, it has twice as many.
            table = (
                np.frombuffer(rows, np.float32)
                .reshape(-1, own.shape[1])
                .astype(np.float64)
                .round(6)
            )
            output.new_logprobs = LogprobsLists(_NONE, table, _NONE)
    return below
