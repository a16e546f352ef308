"""The repaired limit on thinking of vLLM's V1 runner, token by token against its rule. No engine is started."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

START, END, LEAD = 1, 2, 3
VOCABULARY = 8
TOKENS = st.lists(st.integers(1, VOCABULARY - 1), max_size=12)


def new_holder(closing: list[int]) -> Any:
    import torch

    from reasoner.engines.vllm.rendering import reasoning_config
    from reasoner.engines.vllm.worker import RepairedThinkingBudget
    from reasoner.models.thinking import ThinkingProfile

    profile = ThinkingProfile(
        "always", (START,), (END,), "<think>", "</think>", "so</think>"
    )
    config = reasoning_config(profile, tuple(closing))
    return RepairedThinkingBudget(config, 4, 0, torch.device("cpu"), False)


def forced_by_rule(ids: list[int], budget: int, closing: list[int]) -> int | None:
    """The token that must come next: in thinking that is at its limit, the next one of the closing text."""
    last = {
        marker: len(ids) - 1 - ids[::-1].index(marker) if marker in ids else -1
        for marker in (START, END)
    }
    if last[START] <= last[END] or len(ids) - last[START] - 1 < budget:
        return None
    there = max(n for n in range(len(closing)) if n == 0 or ids[-n:] == closing[:n])
    return closing[there]


@settings(deadline=None, max_examples=200)
@given(
    TOKENS,
    st.integers(0, 6),
    st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=40),
    st.sampled_from([[END], [LEAD, END], [LEAD, 4, END, 4]]),
)
def test_a_token_is_forced_where_the_rule_says_so(
    prompt: list[int], budget: int, wishes: list[int], closing: list[int]
) -> None:
    torch = pytest.importorskip("torch")
    holder = new_holder(closing)
    holder._state[0] = holder._init_state_entry(prompt, budget)
    generated: list[int] = []
    for wish in wishes:
        holder.update_state([generated], [])
        logits = torch.zeros(1, VOCABULARY)
        logits[0, wish] = 1.0
        token = int(holder.apply_to_logits(logits, False, []).argmax())
        forced = forced_by_rule(prompt + generated, budget, closing)
        assert token == (wish if forced is None else forced)
        generated.append(token)
