"""Whatever a client writes into the vendor object: jobs of a bounded size, or an error of one line."""

from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Budget
from reasoner.registry import entries
from reasoner.serving.choose import choose
from reasoner.serving.errors import ApiError
from reasoner.serving.specs import MAX_COUNT, draws
from tests.serving.asking import chat, offer, refusal

PIECES = [
    *entries("strategy"), *entries("rule"), *entries("verifier"), "n=3", "n=99999999", "of=", "stop=", "rules=[", "]",
    "(", ")", ",", ":", "=", '"', "{}", "profile=x", "lora=x", "temperature=0", "max_tokens=5", "none", "\\", "1e9", "-1",
    "tokens=4k", "seconds=1", "number", "math:seconds=1", "choice", "pattern=(a+)+", "free", "auto", "é", "\ud800",
]  # fmt: skip
SPECS = st.none() | st.text(max_size=40) | st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map("".join)
OPTIONS = st.fixed_dictionaries(
    dict.fromkeys(("strategy", "answer", "stop", "budget"), SPECS)
    | {
        "verifier": st.just("judge") | SPECS,
        "effort": st.none() | st.just("low"),
        "abstain_below": st.none() | st.just(0.5),
    }
)


@given(OPTIONS)
def test_any_vendor_object_is_chosen_or_refused(options: dict[str, Any]) -> None:
    offered = offer(ceiling=Budget(samples=64))
    try:
        jobs = choose(chat(n=2, reasoner=options), offered)
    except ApiError as error:
        refused = error
        refusal(lambda: raised(refused))
        assert refused.status in (400, 404)
    else:
        assert all(draws(job.strategy) <= MAX_COUNT for job in jobs)
        assert all(job.budget and job.budget.samples and job.budget.samples <= 32 for job in jobs)
        assert {*chain.from_iterable(job.notes for job in jobs)} == {*jobs[0].notes}


def raised(error: ApiError) -> None:
    raise error
