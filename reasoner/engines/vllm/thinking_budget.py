"""A repaired limit on thinking for vLLM's V1 model runner (CPU builds), loaded in vLLM's worker process.

V1 takes the closing text that it forces for the marker by which a model ends thinking itself: where that text is a
sentence, it keeps counting in the answer, and forces the sentence into it. It also reads a whole sequence again for
each token. Model Runner V2 (CUDA builds) does neither, and this follows its rule: thinking is open where the last
opening marker comes after the last closing one; after `budget` tokens of it the next token of the closing text is
forced, beginning after the part of it that is there already.
"""

from typing import Any

from vllm.v1.sample.thinking_budget_state import ThinkingBudgetStateHolder

NOWHERE = -1


class RepairedThinkingBudget(ThinkingBudgetStateHolder):  # type: ignore[misc] # vLLM's types are not checked
    """V1's limit on thinking with the rule of V2."""

    def __init__(self, reasoning_config: Any, *args: Any) -> None:
        super().__init__(reasoning_config, *args)
        self.natural_end = list(reasoning_config.natural_reasoning_end_token_ids or self.think_end_token_ids)
        self.longest = max(map(len, (self.think_start_token_ids, self.natural_end, self.think_end_token_ids)))

    def _init_state_entry(self, prompt_tok_ids: list[int] | None, thinking_token_budget: int) -> dict[str, Any]:
        state: dict[str, Any] = super()._init_state_entry(prompt_tok_ids, thinking_token_budget)
        prompt = prompt_tok_ids or []
        start = self._find_last_sequence_index(prompt, self.think_start_token_ids)
        end = self._find_last_sequence_index(prompt, self.natural_end)
        opened = len(prompt) - start - len(self.think_start_token_ids) if start > end else NOWHERE
        return state | {"thought": opened, "read": 0, "tail": prompt[-self.longest :], "in_end": False}

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
        forced = state["thought"] >= state["thinking_token_budget"] and state["thought"] != NOWHERE
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
