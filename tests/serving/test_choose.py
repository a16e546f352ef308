"""How a request is answered: vendor object, then alias, then default; and what a client may not ask for."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers.kinds import KINDS, class_of, kind_options
from reasoner.answers.reading import compiled
from reasoner.budget import Budget, Prices
from reasoner.registry import build, entries, load, options_of, spec_of
from reasoner.serving.choose import choose
from reasoner.serving.errors import ApiError
from reasoner.serving.replies import public_spec
from reasoner.serving.requests import MAX_COUNT, build_client, draws
from reasoner.specs import Mark, OwnerOnly, marks_of
from reasoner.testing.scripted import THINKER
from reasoner.types import Message, SamplingParams
from tests.serving.asking import alias, chat, offer, only, refusal


def test_a_plain_request_passes_through() -> None:
    turns = [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "  How many?\n"},
    ]
    job = only(messages=turns, top_p=0.5, max_tokens=7, stop=["x"])
    assert job.passes_through
    assert job.question.prompt.messages == tuple(Message(**turn) for turn in turns)  # type: ignore[arg-type]
    assert (job.question.text, job.question.space.name) == ("  How many?\n", "free")
    assert job.strategy.params == SamplingParams(
        temperature=1.0, top_p=0.5, max_tokens=7, stop=("x",)
    )
    assert (job.budget, job.stop, job.verifier, job.notes, job.seed) == (
        None,
        None,
        None,
        (),
        1,
    )


def test_a_reply_of_any_form_may_be_long() -> None:
    assert (
        only().strategy.params.max_tokens
        == only(model="m@universal8").strategy.params.max_tokens
        == 4096
    )
    assert only(model="m@vote8").strategy.params.max_tokens is None
    [job] = choose(chat(), offer(model=replace(THINKER, name="m")))
    assert job.strategy.params.max_tokens is None  # type: ignore[attr-defined]


def test_choices_are_jobs_with_seeds_of_their_own() -> None:
    jobs = choose(chat(n=3, seed=2**63 - 1), offer())
    assert [job.seed for job in jobs] == [2**63 - 1, 0, 1]
    assert len({job.question.id for job in jobs}) == 1
    assert choose(chat(seed=-1), offer())[0].seed == 2**63 - 1
    unseeded = {choose(chat(seed=None), offer())[0].seed for _ in range(3)}
    assert len(unseeded) == 3


def test_the_vendor_object_goes_before_the_alias_before_the_default() -> None:
    offered = offer(default=alias("universal:n=3"))
    assert [spec_of(job.strategy) for job in choose(chat(), offered)] == [
        "universal:n=3,max_tokens=4096"
    ]
    assert (
        spec_of(choose(chat(model="m@vote16"), offered)[0].strategy)
        == "self_consistency:n=16"
    )
    body = chat(model="m@vote16", reasoner={"strategy": "self_consistency:n=2"})
    assert spec_of(choose(body, offered)[0].strategy) == "self_consistency:n=2"
    assert choose(chat(reasoner={"strategy": "none"}), offered)[0].passes_through


# The kind of answer


def test_a_vote_asks_for_a_kind_of_answer_and_says_so_in_the_prompt() -> None:
    job = only(
        model="m@vote8", messages=[{"role": "user", "content": "How many is 2 + 2?"}]
    )
    assert job.question.space.name == "number"
    assert job.question.prompt.messages[-1].content.startswith("How many is 2 + 2?\n\n")
    job = only(model="m@vote8", reasoner={"answer": "yes_no"})
    assert job.question.space.name == "yes_no"


# Sampling


def test_greedy_sampling_does_not_make_a_vote_of_equal_samples() -> None:
    job = only(model="m@vote16", temperature=0, top_p=0.9)
    assert job.strategy.params == SamplingParams(top_p=0.9)
    assert "temperature=0 was not used" in job.notes[0]
    assert (
        only(
            reasoner={"strategy": "self_consistency:n=1"}, temperature=0
        ).strategy.params.temperature
        == 0
    )
    assert only(model="m@refine", temperature=0).strategy.params.temperature == 0


def test_the_strategys_own_sampling_goes_before_the_requests() -> None:
    job = only(
        reasoner={"strategy": "self_consistency:n=2,temperature=0.3"},
        temperature=0.9,
        max_tokens=5,
    )
    assert job.strategy.params == SamplingParams(temperature=0.3, max_tokens=5)
    job = only(
        reasoner={"strategy": "self_consistency(n=2, of=refine(critic=self))"},
        temperature=0.9,
    )
    assert (job.strategy.params, job.strategy.of.params.temperature) == (
        SamplingParams(),
        0.9,
    )
    assert (
        only(
            reasoner={"strategy": "budget_forcing"}, max_tokens=5
        ).strategy.params.max_tokens
        == 5
    )


def test_effort_is_the_models_thinking() -> None:
    [job] = choose(
        chat(model="m@vote8", reasoning_effort="minimal"),
        offer(model=replace(THINKER, name="m")),
    )
    assert job.strategy.params.thinking == "low"  # type: ignore[attr-defined]
    job = only(reasoning_effort="high")
    assert job.strategy.params.thinking is None
    assert job.notes == ("reasoning_effort was not used: the model does not think",)
    assert only(reasoning_effort="none").notes == ()


@pytest.mark.parametrize(
    ("strategy", "fields", "streams"),
    [
        ("single", {}, True),
        ("single", {"tools": [{"type": "function", "function": {"name": "a"}}]}, False),
        ("budget_forcing:max_thinking=40,waits=1", {}, False),
    ],
)
def test_the_text_of_a_strategy_that_draws_once_streams(
    strategy: str, fields: dict[str, Any], streams: bool
) -> None:
    request = chat(reasoner={"strategy": strategy, "answer": "number"}, **fields)
    [job] = choose(request, offer(model=replace(THINKER, name="m")))
    assert job.streams == streams


# Verifiers and budgets


def test_a_verifier_is_one_that_the_server_offers() -> None:
    offered = offer()
    job = choose(
        chat(reasoner={"strategy": "best_of_n", "verifier": "judge"}), offered
    )[0]
    assert job.verifier is offered.verifiers["judge"]
    assert (job.rated_by, choose(chat(model="m@best8"), offered)[0].rated_by) == (
        "judge",
        "certainty",
    )
    job = only(verifier=None, reasoner={"verifier": "judge"})
    assert (job.verifier, job.notes) == (
        None,
        ("the verifier judge was not asked: the strategy uses none",),
    )


def test_a_budget_is_the_least_of_all_limits_and_is_shared_by_the_choices() -> None:
    offered = offer(ceiling=Budget(tokens=1000, samples=32), prices=Prices(1, 1))
    [job] = choose(chat(reasoner={"budget": "tokens=4k,seconds=5,usd=1"}), offered)
    assert job.budget == Budget(tokens=1000, samples=32, seconds=5, usd=1)
    jobs = choose(
        chat(n=4, reasoner={"budget": {"tokens": 100, "seconds": 5}}), offered
    )
    assert {job.budget for job in jobs} == {Budget(tokens=25, samples=8, seconds=5)}
    small = offer(aliases={"small": alias("single", budget="tokens=9")})
    assert choose(chat(model="m@small"), small)[0].budget == Budget(tokens=9)
    assert choose(chat(model="m@small", reasoner={"budget": "tokens=99"}), small)[
        0
    ].budget == Budget(tokens=99)


# What the server cannot do, or a client may not


NO_QUESTION = [
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "4"},
]
NEEDS_VERIFIER = {"strategy": "best_of_n"}


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        *(
            ({"model": name}, "model", "m@vote8")
            for name in ("gpt-4", "m@vote9", "m@vote8@vote8")
        ),
        *(
            (
                {"reasoner": {"strategy": spec, "answer": "free"}},
                "reasoner.answer",
                "best_of_n, escalate, gen_select, refine, single, tournament, universal",
            )
            for spec in ("self_consistency", "mcts")
        ),
        (
            {"model": "m@vote8", "messages": NO_QUESTION},
            "messages",
            "must be a question of the user (got assistant)",
        ),
        ({"reasoner": {"answer": "choice"}}, "reasoner.answer", ""),
        (
            {"reasoner": {**NEEDS_VERIFIER, "verifier": "jugde"}},
            "reasoner.verifier",
            "did you mean 'judge'?",
        ),
        (
            {"reasoner": {**NEEDS_VERIFIER, "verifier": "prm:model=/etc/passwd"}},
            "reasoner.verifier",
            "no verifier",
        ),
        ({"reasoner": {"budget": {"usd": 1}}}, "reasoner.budget", "use tokens"),
    ],
)
def test_what_is_not_offered_is_refused_by_its_field(
    fields: dict[str, Any], param: str, says: str
) -> None:
    error = refusal(lambda: only(**fields))
    known = (404, "model_not_found") if param == "model" else (400, None)
    assert (error.status, error.code, error.param) == (*known, param)
    assert says in error.message


@pytest.mark.parametrize(
    "spec",
    [
        "auto:profile=/etc/passwd",
        'self_consistency:n=2,of="auto:profile=x"',
        "single:lora=/tmp/x",
        'self_consistency:of="single(lora=x)"',
        "auto:\u2003profile=x",
        "best_of_n(of=refine(critic=self,lora=[x]))",
    ],
)
def test_no_spec_of_a_client_reads_files_or_loads_weights(spec: str) -> None:
    error = refusal(lambda: only(reasoner={"strategy": spec}))
    assert error.param == "reasoner.strategy"
    assert "cannot be set by a request" in error.message
    assert "passwd" not in error.message


@pytest.mark.parametrize(
    "answer",
    [
        "number:pattern=(a+)+$",
        "math:extract=rules,pattern=x",
        "math:seconds=1000",
        "tool_call",
        "auto: pattern =x",
        "text:equal=exact,\u2003pattern\u00a0= x",
        "number:Pattern=x",
        'number:{"pattern":"x"}',
    ],
)
def test_no_answer_kind_of_a_client_takes_the_servers_time(answer: str) -> None:
    known = compiled.cache_info()
    error = refusal(
        lambda: only(reasoner={"strategy": "self_consistency", "answer": answer})
    )
    assert (error.status, error.param) == (400, "reasoner.answer")
    assert compiled.cache_info() == known
    if answer in (
        "number:pattern=(a+)+$",
        "math:extract=rules,pattern=x",
        "math:seconds=1000",
    ):
        assert "cannot be set by a request" in error.message
        assert choose(
            chat(model="m@own"),
            offer(aliases={"own": alias("self_consistency", answer=answer)}),
        )


def test_every_option_of_an_answer_kind_is_harmless_or_marked() -> None:
    """A new option that holds code or takes time has to be marked as `Pattern` or `Seconds` are."""
    harmless = {"ask", "extract", "cut", "equal"}
    for name in KINDS:
        cls: type = class_of(name)
        owned = {
            option
            for option, mark in marks_of(cls).items()
            if isinstance(mark, OwnerOnly)
        }
        assert {*kind_options(name)} - owned <= harmless, name


def test_a_request_has_a_ceiling_of_samples_unless_its_strategy_is_all_the_owners() -> (
    None
):
    wide = {"reasoner": {"strategy": "beam_search:n=64", "answer": "number"}}
    assert only(**wide).budget == Budget(samples=MAX_COUNT)
    assert only(reasoner={**wide["reasoner"], "budget": "samples=9"}).budget == Budget(
        samples=9
    )
    assert {job.budget for job in choose(chat(n=16, **wide), offer())} == {
        Budget(samples=64)
    }
    assert {job.budget for job in choose(chat(n=2, model="m@vote8"), offer())} == {
        Budget(samples=512)
    }
    assert only(model="m@short-3").budget is None


@pytest.mark.parametrize(
    ("n", "spec"),
    [
        (128, "self_consistency:n=9"),
        (2, "mcts:k=33,simulations=16"),
    ],
)
def test_all_choices_of_a_request_draw_a_bounded_number(n: int, spec: str) -> None:
    fields: dict[str, Any] = {
        "n": n,
        "reasoner": {"strategy": spec, "answer": "number"},
    }
    assert refusal(lambda: choose(chat(**fields), offer())).param == "n"
    fields["n"] = 1
    assert choose(chat(**fields), offer())
    own = offer(aliases={"own": alias(f"self_consistency:n={2 * MAX_COUNT}")})
    assert choose(chat(model="m@own"), own)
    assert refusal(lambda: choose(chat(model="m@own", n=2), own)).param == "n"


@pytest.mark.parametrize(
    "spec",
    [
        f"self_consistency:n={MAX_COUNT + 1}",
        "universal:repeats=1000000000",
        "self_consistency:n=4,stop=esc(window=99999)",
        "tournament:n=1024,comparisons=1024",
        "(" * 5000,
        "self_consistency:of=" + "self_consistency(of=" * 30,
    ],
)
def test_no_spec_of_a_client_is_large(spec: str) -> None:
    assert refusal(lambda: only(reasoner={"strategy": spec})).status == 400


@pytest.mark.parametrize(
    "spec", ["code_interpreter", "self_consistency:n=4,of=code_interpreter"]
)
def test_only_the_owner_offers_programs(spec: str) -> None:
    refused = refusal(lambda: only(reasoner={"strategy": spec, "answer": "number"}))
    assert refused.status == 400
    assert (
        "code_interpreter cannot be chosen by a request, as it runs programs on the server"
        in refused.message
    )
    assert choose(chat(model="m@own"), offer(aliases={"own": alias(spec)}))


def texts(cls: Any) -> Iterator[str]:
    """The options of a class that hold any text."""
    for name, option in options_of(cls).items():
        if option.type in (str, tuple[str, ...]) or "Path" in str(option.type):
            yield name


def test_every_option_with_a_text_is_harmless_or_marked() -> None:
    """A new option that names a file or code has to be marked as `FilePath` or `Weights` are."""
    harmless = {
        "agreed",
        "at",
        "first",
        "instruction",
        "levels",
        "shots",
        "step",
        "task",
        "wait",
    }
    for kind in ("strategy", "rule"):
        for name in entries(kind):
            assert {*texts(load(kind, name))} <= harmless, name
    assert {*texts(SamplingParams)} <= {"stop", "bad_words", "json_schema"}


@pytest.mark.parametrize("name", sorted(entries("strategy")))
def test_the_samples_of_every_strategy_are_bounded(name: str) -> None:
    cls = load("strategy", name)
    if hasattr(cls, "owners"):
        # Refused as a whole.
        return
    assert draws(build_client("strategy", name)) <= MAX_COUNT
    counted = {option for option, mark in marks_of(cls).items() if mark is Mark.SAMPLES}
    assert counted >= {"n", "chains"} & {*options_of(cls)}
    for option in counted:
        spec = f"{name}:{option}={MAX_COUNT + 1}"
        assert refusal(partial(only, reasoner={"strategy": spec})).status == 400


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        (
            "self_consistency(n=2, of=auto(n=4))",
            (
                "self_consistency:n=2,of=auto(effort=medium,prefer=tokens,n=4,risk=0.0,abstain_below=0.0,"
                "abstain_risk=0.0),order=length"
            ),
        ),
        ("single:lora=secret,top_k=3", "single:top_k=3"),
    ],
)
def test_a_spec_in_a_reply_is_whole_but_hides_what_the_owner_set(
    spec: str, shown: str
) -> None:
    assert public_spec(build("strategy", spec)) == shown


PIECES = [
    *entries("strategy"),
    *entries("rule"),
    *entries("verifier"),
    "n=3",
    "n=99999999",
    "of=",
    "stop=",
    "rules=[",
    "]",
    "(",
    ")",
    ",",
    ":",
    "=",
    '"',
    "{}",
    "profile=x",
    "lora=x",
    "temperature=0",
    "max_tokens=5",
    "none",
    "\\",
    "1e9",
    "-1",
    "tokens=4k",
    "seconds=1",
    "number",
    "math:seconds=1",
    "choice",
    "pattern=(a+)+",
    "free",
    "auto",
    "é",
    "\ud800",
]
SPECS = (
    st.none()
    | st.text(max_size=40)
    | st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map("".join)
)
VENDOR = st.fixed_dictionaries(
    dict.fromkeys(("strategy", "answer", "stop", "budget"), SPECS)
    | {"verifier": st.just("judge") | SPECS}
)


@given(VENDOR)
def test_any_vendor_object_is_chosen_or_refused(options: dict[str, Any]) -> None:
    offered = offer(ceiling=Budget(samples=64))
    try:
        jobs = choose(chat(n=2, reasoner=options), offered)
    except ApiError as error:
        known = error.status in (400, 404) and "\n" not in error.message
    else:
        known = all(draws(job.strategy) <= MAX_COUNT for job in jobs)
        assert all(
            job.budget and job.budget.samples and job.budget.samples <= 32
            for job in jobs
        )
        assert {*chain.from_iterable(job.notes for job in jobs)} == {*jobs[0].notes}
    assert known
