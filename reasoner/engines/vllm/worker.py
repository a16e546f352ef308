"""What vLLM's worker process loads by name: repairs of the V1 model runner (CPU builds)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.sample.sampler import Sampler
from vllm.v1.sample.thinking_budget_state import ThinkingBudgetStateHolder

NOWHERE = -1


class RepairedSampler(Sampler):  # type: ignore[misc] # vLLM's types are not checked
    """V1's sampler with rows by request: its watched token ids, or its best alternatives.

    If a request of a batch has `logprob_token_ids`, V1 gathers only those ids for the whole batch, and all other
    requests lose their best alternatives. Model Runner V2 (CUDA builds) separates the two.
    """

    max_logprobs: int | None = None
    """The largest number of alternatives that a request of the batch needs."""

    def forward(
        self, logits: Any, sampling_metadata: Any, *args: Any, **options: Any
    ) -> Any:
        """Sample one token for each request."""
        self.max_logprobs = sampling_metadata.max_num_logprobs
        return super().forward(logits, sampling_metadata, *args, **options)

    def gather_specific_token_logprobs(
        self,
        logprobs: Any,
        logprob_token_ids: Mapping[int, Sequence[int]],
        sampled: Any,
    ) -> Any:
        """[requests, 1 + columns] log-probabilities and ids: the sampled token's, then those of the request.

        The front end reads as many columns of a row as its request needs; the others are padding.
        """
        watched = super().gather_specific_token_logprobs(
            logprobs, logprob_token_ids, sampled
        )
        if not self.max_logprobs:
            return watched
        best = self.gather_logprobs(logprobs, self.max_logprobs, token_ids=sampled)
        width = max(watched.logprobs.shape[1], best.logprobs.shape[1])
        watches = torch.zeros(
            len(logprobs), 1, dtype=torch.bool, device=logprobs.device
        )
        watches[list(logprob_token_ids)] = True

        def joined(own: Any, others: Any, padding: float) -> Any:
            wide = (
                pad(table, (0, width - table.shape[1]), value=padding)
                for table in (own, others)
            )
            return torch.where(watches, *wide)

        return LogprobsTensors(
            joined(watched.logprob_token_ids, best.logprob_token_ids, 0),
            joined(watched.logprobs, best.logprobs, float("-inf")),
            watched.selected_token_ranks,
        )


class RepairedThinkingBudget(ThinkingBudgetStateHolder):  # type: ignore[misc] # vLLM's types are not checked
    """V1's limit on thinking with the rule of V2 (CUDA builds).

    V1 takes the closing text that it forces for the marker by which a model ends thinking itself: where that text is a
    sentence, it keeps counting in the answer, and forces the sentence into it. It also reads a whole sequence again for
    each token. By the rule of V2, thinking is open where the last opening marker comes after the last closing one.
    After `budget` tokens of it the next token of the closing text is forced, after the part of it that is there.
    """

    def __init__(self, reasoning_config: Any, *args: Any) -> None:
        super().__init__(reasoning_config, *args)
        self.natural_end = list(
            reasoning_config.natural_reasoning_end_token_ids or self.think_end_token_ids
        )
        self.longest = max(
            map(
                len,
                (
                    self.think_start_token_ids,
                    self.natural_end,
                    self.think_end_token_ids,
                ),
            )
        )

    def _init_state_entry(
        self, prompt_tok_ids: list[int] | None, thinking_token_budget: int
    ) -> dict[str, Any]:
        state: dict[str, Any] = super()._init_state_entry(
            prompt_tok_ids, thinking_token_budget
        )
        prompt = prompt_tok_ids or []
        start = self._find_last_sequence_index(prompt, self.think_start_token_ids)
        end = self._find_last_sequence_index(prompt, self.natural_end)
        opened = (
            len(prompt) - start - len(self.think_start_token_ids)
            if start > end
            else NOWHERE
        )
        return state | {
            "thought": opened,
            "read": 0,
            "tail": prompt[-self.longest :],
            "in_end": False,
        }

    def _update_think_state(self, state: dict[str, Any]) -> None:
        if self.in_spec_mode:
            super()._update_think_state(state)
            return
        generated = state["output_tok_ids"]
        for token in generated[state["read"] :]:
            if token < 0:  # not known yet
                break
            self._read(state, token)
            state["read"] += 1
        forced = (
            state["thought"] >= state["thinking_token_budget"]
            and state["thought"] != NOWHERE
        )
        state["in_end"] = forced and bool(self.think_end_token_ids)
        state["end_count"] = self._there(state["tail"]) if forced else 0
        state["force_index"], state["bonus_token_forced"] = [0], False

    def _read(self, state: dict[str, Any], token: int) -> None:
        tail = state["tail"] = [*state["tail"], token][-self.longest :]
        if tail[-len(self.think_start_token_ids) :] == self.think_start_token_ids:
            state["thought"] = 0
        elif tail[-len(self.natural_end) :] == self.natural_end:
            state["thought"] = NOWHERE
        elif state["thought"] != NOWHERE:
            state["thought"] += 1

    def _there(self, tail: list[int]) -> int:
        """How much of the closing text the sequence ends with; not all of it."""
        end = self.think_end_token_ids
        return next((n for n in range(len(end) - 1, 0, -1) if tail[-n:] == end[:n]), 0)


class RepairableWorker:
    """A base class that vLLM's worker gets by `worker_extension_cls`."""

    def repair(self) -> None:
        """Replace V1's own sampler, and its limit on thinking, by the repaired ones."""
        runner: Any = self.model_runner  # type: ignore[attr-defined] # the worker's
        own = runner.sampler
        runner.sampler = RepairedSampler(
            logprobs_mode=own.logprobs_mode, use_fp64_gumbel=own.use_fp64_gumbel
        )
        batch = runner.input_batch
        if (holder := batch.thinking_budget_state_holder) is not None:
            batch.thinking_budget_state_holder = RepairedThinkingBudget(
                runner.vllm_config.reasoning_config,
                batch.max_num_reqs,
                holder.num_spec_tokens,
                holder.device,
                False,
            )
