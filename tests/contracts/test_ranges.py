"""The range of every number among the options of strategies, rules and verifiers, and options that exclude each other."""

import dataclasses
import typing
from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.registry import Kind, build, entries, load, options_of
from reasoner.types import SamplingParams
from reasoner_strategies import AbMcts, DeepConf

STEPS = ("max_steps=1 step_tokens=0 reserve=0", "max_steps=0 step_tokens=-1 reserve=-1")
PROFILE = f"profile={Path(__file__).with_name('profile.json')}"
RANGES: dict[Kind, dict[str, tuple[str, str]]] = {
    "strategy": {
        "aggregate": (
            "n=1 k=2 rounds=0 rounds=100 last=1 summary_tokens=1",
            "n=0 k=0 rounds=-1 rounds=101 last=0 summary_tokens=0",
        ),
        "ab_mcts": ("n=1 n=1000000 concurrency=1", "n=0 n=1000001 concurrency=0"),
        "adaptive_consistency": ("n=1 window=1 theta=0.001", "n=0 window=0 theta=0 theta=1.0"),
        "auto": (
            "n=1 risk=0 risk=1 abstain_below=0 abstain_below=1 abstain_risk=0 abstain_risk=1",
            "n=0 risk=-0.1 risk=1.1 abstain_below=-0.1 abstain_below=1.1 abstain_risk=-0.1 abstain_risk=1.1",
        ),
        "beam_search": ("n=1 n=10000 width=1", "n=0 n=10001 width=0"),
        "best_of_n": ("n=1", "n=0"),
        "borda": ("n=1 power=0 power=10", "n=0 power=-0.5 power=10.1"),
        "budget_forcing": (
            "max_thinking=0 min_thinking=0 waits=0 answer_tokens=1",
            "max_thinking=-1 min_thinking=-1 waits=-1 answer_tokens=0",
        ),
        "cisc": ("n=1 softmax_temperature=1e-300 softmax_temperature=inf", "n=0 softmax_temperature=0"),
        "code_interpreter": ("timeout=0.1 timeout=3600", "timeout=0 timeout=3601 calls=0"),
        "deepconf": (
            "n=1 keep=100 window=1 warmup=1 consensus=1 concurrency=1",
            "n=0 keep=0 keep=101 window=0 warmup=0 consensus=0 consensus=1.1 concurrency=0",
        ),
        "dvts": ("n=1 n=10000 width=1", "n=0 n=10001 width=0"),
        "early_exit": ("every=1 threshold=0 threshold=1", "every=0 threshold=1.1 agree=0"),
        "early_stopping": ("n=1 window=1", "n=0 window=0"),
        "escalate": ("n=1", "n=0"),
        "gen_select": ("n=1 group=2 group=16 repeats=1", "n=0 group=1 group=17 repeats=0"),
        "knockout": ("n=1 comparisons=1", "n=0 comparisons=0"),
        "likelihood": ("n=1", "n=0"),
        "lookahead": ("n=1 width=2 k=0", "n=0 width=0 k=-1"),
        "mcts": (
            "simulations=1 k=1 c_init=0 concurrency=1",
            "simulations=0 k=0 c_init=-1 c_init=inf concurrency=0",
        ),
        "pairwise": ("n=1 comparisons=1", "n=0 comparisons=0"),
        "parallel_probe": (
            "n=1 n=10000 every=1 stable=1 patience=1 warmup=0 window=1",
            "n=0 n=10001 every=0 stable=0 patience=0 warmup=-1 window=0",
        ),
        "particle_filter": (
            "n=1 n=10000 weight_temperature=0.001 weight_temperature=1000 iterations=1",
            "n=0 iterations=0 n=10001 weight_temperature=0 weight_temperature=1001",
        ),
        "rebase": ("n=1 balance_temperature=0.001", "n=0 balance_temperature=0 balance_temperature=inf"),
        "refine": ("rounds=0 satisfied=0 satisfied=1", "rounds=-1 satisfied=-0.1 satisfied=1.5"),
        "revise": ("chains=1 chains=10000 revisions=0", "chains=0 chains=10001 revisions=-1"),
        "self_consistency": ("n=1 window=1", "n=0 n=-3 window=0"),
        "short_m_at_k": ("k=1 k=10000 m=1 m=8", "k=0 k=10001 m=0 m=9"),
        "single": ("", ""),
        "speculative_rejection": ("n=1 n=10000 alpha=0 every=1", "n=0 n=10001 alpha=-0.1 alpha=1.0 every=0"),
        "swiss": ("n=1 budget=0.5 budget=1000 min_degree=1", "n=0 budget=0 budget=1001 min_degree=0"),
        "tree_of_thoughts": ("b=1 k=1 n_eval=1", "b=0 k=0 n_eval=0"),
        "universal": ("n=1", "n=0"),
    },
    "rule": {
        "beta": ("theta=0.001 theta=0.999", "theta=0 theta=1 theta=-0.1"),
        "dirichlet": ("theta=0.001 theta=0.999", "theta=0 theta=1"),
        "entropy": ("share=0.001 share=0.999", "share=0 share=1"),
        "esc": ("window=1 window=64", "window=0 window=65"),
        "first_of": ("", ""),
        "lock_in": ("delta=0.001 delta=0.999", "delta=0 delta=1"),
        "lossless": ("", ""),
        "majority": ("share=0.001 share=0.999", "share=0 share=1"),
        "no_majority": ("delta=0.001 delta=0.999", "delta=0 delta=1"),
        "ppr": ("delta=0.001 delta=0.999 classes=2", "delta=0 delta=1 classes=1"),
        "price": ("price=0 price=1", "price=-0.1 price=1.1"),
    },
    "verifier": {
        "certainty": ("top_k=2 top_k=20 window=1", "top_k=1 top_k=21 window=0"),
        "code": ("timeout=0.001 timeout=3600", "timeout=0 timeout=-1 timeout=3601"),
        "judge": ("min_mass=0 min_mass=1 think=0 repeats=1", "min_mass=-0.1 min_mass=1.5 think=-1 repeats=0"),
    },
}
"""By kind and name: settings at the limits of an option's range, and settings just outside of it."""
BESIDE = {
    "auto abstain_below": PROFILE,
    "auto abstain_risk": PROFILE,
    "parallel_probe window": "stop=beta",
    "self_consistency window": "stop=beta",
}
"""What an option needs beside it."""
SEARCHES = {"beam_search", "dvts", "lookahead", "mcts", "particle_filter", "rebase", "tree_of_thoughts"}


def settings(side: int) -> list[tuple[Kind, str, str]]:
    """Each setting of one side of the table, with its kind and name."""
    rows = [(kind, name, pair) for kind, names in RANGES.items() for name, pair in names.items()]
    rows += [("strategy", name, STEPS) for name in sorted(SEARCHES)]
    return [(kind, name, setting) for kind, name, pair in rows for setting in pair[side].split()]


def made(kind: Kind, name: str, setting: str) -> object:
    beside = BESIDE.get(f"{name} {setting.partition('=')[0]}", "")
    return build(kind, f"{name}:{','.join(filter(None, (setting, beside)))}")


@pytest.mark.parametrize(("kind", "name", "setting"), settings(0))
def test_a_number_at_its_limit_is_accepted(kind: Kind, name: str, setting: str) -> None:
    option, _, value = setting.partition("=")
    assert getattr(made(kind, name, setting), option) == float(value)


@pytest.mark.parametrize(("kind", "name", "setting"), settings(1))
def test_a_number_beyond_its_limit_is_refused(kind: Kind, name: str, setting: str) -> None:
    option, _, value = setting.partition("=")
    with pytest.raises(UsageError, match=rf"{option}\b.* must be .*\(got {float(value):,.9g}") as refused:
        made(kind, name, setting)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", RANGES)
def test_every_number_and_every_word_has_a_range(kind: Kind) -> None:
    """A number that is no number and a word that is no choice are refused too."""
    known = {(name, setting.partition("=")[0]) for of, name, setting in settings(1) if of == kind}
    numbers = set()
    for name in sorted(entries(kind).keys() - {"first_of", "ray", "orm", "prm", "calibrated", "ensemble", "rules"}):
        plain, hints = build(kind, name), typing.get_type_hints(load(kind, name))
        for option in options_of(type(plain)):
            if typing.get_origin(hints[option]) is tuple:
                continue  # A strategy checks its own lists.
            parts = {hints[option], *typing.get_args(hints[option])}
            if parts & {int, float}:
                numbers.add((name, option))
                with pytest.raises(UsageError, match=rf"{option}\b.* must be .*\(got nan\)"):
                    dataclasses.replace(plain, **{option: float("nan")})
            elif words := [part for part in parts if isinstance(part, str)]:
                with pytest.raises(UsageError, match=rf"{option} must be .*{words[0]}.*\(got 'x'\)"):
                    dataclasses.replace(plain, **{option: "x"})
    assert numbers == known


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ab_mcts:prices=1", "prices have no effect without levels"),
        ("ab_mcts:levels=often", "levels must be none, low"),
        ("ab_mcts:levels=none,prices=[1,0]", "prices must be above 0"),
        ("ab_mcts:levels=none,prices=1", "prices must be one for each level and one for the default .got 1 for 1"),
        ("adaptive_consistency:rule=gamma", "input should be 'beta' or 'dirichlet'"),
        ("auto:abstain_below=0.5", "abstain_below=0.5 needs a profile"),
        ("auto:task=sums", "task=sums needs a profile"),
        ("auto:profile=/nowhere/p.json", "cannot read the profile /nowhere/p.json"),
        ("beam_search:step=", "a step must end: set step, .* or step_tokens"),
        ("best_of_n:of=single,temperature=0.5", "sampling options belong to that strategy"),
        (
            "budget_forcing:min_thinking=9,max_thinking=8",
            "min_thinking, with this max_thinking, must be at most 8 .got 9",
        ),
        ("budget_forcing:thinking=512", "thinking=512 contradicts max_thinking=4096"),
        ("deepconf:logprobs=0", "logprobs must be from 1 to 20"),
        ("deepconf:mode=offline,warmup=4", "have no effect offline"),
        ("deepconf:mode=offline,consensus=0.5", "have no effect offline"),
        ("deepconf:mode=offline,concurrency=2", "have no effect offline"),
        ("escalate:first=often", "first must be none, low, medium, high, or a number of tokens"),
        ("parallel_probe:window=2", "window=2 has no effect: without `stop`"),
        ("self_consistency:window=2", "window=2 has no effect: without `stop`"),
        ("self_consistency:stop=beta,of=single", "leave one of them out"),
        ("self_consistency:window=2,of=single", "window=2 has no effect"),
        ("single:shots=[1+1?]", "an even number of texts .got 1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("strategy", spec)


def test_objects_check_their_options_as_specs_do() -> None:
    with pytest.raises(UsageError, match="logprobs must be from 1 to 20"):
        DeepConf(params=SamplingParams())
    with pytest.raises(UsageError, match="n must be a whole number"):
        AbMcts(n="8")  # type: ignore[arg-type]
