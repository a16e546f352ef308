"""What vLLM's core loads by name as its scheduler: it sends log-probabilities when their sequence ends."""

from typing import Any, Final

import numpy as np
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import LogprobsLists

_NONE: Final = np.empty(0, np.int32)


def new_scheduler(vllm_config: Any, **options: Any) -> Any:
    """The scheduler of vLLM that fits a configuration, with `LateLogprobs`."""
    own = AsyncScheduler if vllm_config.scheduler_config.async_scheduling else Scheduler
    return type("LateScheduler", (LateLogprobs, own), {})(vllm_config=vllm_config, **options)


class LateLogprobs:
    """Keeps the log-probabilities of a sequence in vLLM's core until it ends, and then sends them as one table.

    vLLM sends three arrays for each token, and to read them takes the driver twice the time of the rest of its work.
    Nothing is kept of sequences that are read as they come, and of those that end outside the core, at a stop string.
    """

    requests: dict[str, Any]

    def update_from_output(self, scheduled: Any, computed: Any) -> dict[int, Any]:
        """What a step sends to each client."""
        # A request that ends in this step is forgotten in it.
        running = dict(self.requests) if computed.logprobs is not None else {}
        sent: dict[int, Any] = super().update_from_output(scheduled, computed)  # type: ignore[misc] # the scheduler's
        for outputs in sent.values() if running else ():
            for output in outputs.outputs:
                _keep(output, running[output.request_id])
        return sent


def _keep(output: Any, request: Any) -> None:
    """Move the log-probabilities of an output to its request, or all that it kept to its last output."""
    new, params = output.new_logprobs, request.sampling_params
    if new is None or params.output_kind != RequestOutputKind.FINAL_ONLY or params.stop or params.logprob_token_ids:
        return
    # A row has as many columns as the request of the batch that asked for most.
    own = new.logprobs[:, : 1 + params.num_logprobs].astype(np.float32)
    kept = vars(request).setdefault("kept_logprobs", bytearray())
    kept += own.tobytes()
    output.new_logprobs = None
    if output.finish_reason is not None:
        rows = np.frombuffer(kept, np.float32).reshape(-1, own.shape[1])
        # As many digits as a number of 32 bits has: written in 64 bits, it has twice as many.
        output.new_logprobs = LogprobsLists(_NONE, rows.astype(np.float64).round(6), _NONE)
