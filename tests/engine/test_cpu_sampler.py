"""How tokens are drawn on a CPU, against running sums over all tokens. No engine is started."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SHARES = st.floats(0, 1, exclude_max=True)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from([1, 2, 511, 512, 513, 1537]),
    st.lists(st.one_of(st.just(1 - 2**-53), SHARES), min_size=1, max_size=5),
    st.floats(0, 0.99),
    st.integers(0, 2**32 - 1),
)
def test_a_token_is_drawn_where_the_running_sum_passes_the_share(
    tokens: int, shares: list[float], unlikely: float, seed: int
) -> None:
    torch = pytest.importorskip("torch")
    from reasoner.engines.vllm.cpu_sampler import drawn

    random = np.random.default_rng(seed)
    weights = random.gamma(0.1, size=(len(shares), tokens)).astype(np.float32)
    weights[random.random(weights.shape) < unlikely] = 0
    weights[:, random.integers(tokens)] = 1
    chosen = drawn(torch.tensor(weights), torch.tensor(shares).double()[:, None])

    for row, share, [token] in zip(weights, shares, chosen.tolist(), strict=True):
        ends = row.cumsum(dtype=np.float64)
        before = ends[token] - row[token]
        assert row[token] > 0
        assert before * (1 - 1e-12) <= share * ends[-1] <= ends[token] * (1 + 1e-12)


def test_a_table_in_parts_has_the_log_probabilities_of_the_whole() -> None:
    torch = pytest.importorskip("torch")
    from reasoner.engines.vllm.cpu_sampler import CACHED, log_probabilities

    logits = torch.randn(5, CACHED // 2 - 1).bfloat16()
    whole = logits.log_softmax(-1, dtype=torch.float32)
    torch.testing.assert_close(log_probabilities(logits), whole)
