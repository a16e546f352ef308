"""Names of arms: short, without what all arms share, and no two alike."""

from hypothesis import given
from hypothesis import strategies as st

from reasoner.registry import build, spec_of
from reasoner_evals.runs.naming import arm_names


def named(*strategies: str, verifier: str = "", thinks: bool = False) -> list[str]:
    return [
        name.at(None)
        for name in arm_names((spec, verifier, thinks) for spec in strategies).values()
    ]


def test_names_are_words_and_leave_out_what_all_arms_share() -> None:
    specs = [
        f"{spec},max_tokens=96"
        for spec in ("single:temperature=0.0", "self_consistency:n=16", "best_of_n:n=8")
    ]
    assert named(*specs) == ["greedy", "vote of 16", "best of 8"]
    assert named("best_of_n:n=8", verifier="prm") == ["best of 8, prm"]
    # A greedy sample has no part in the temperature of the others, and a default is not shared.
    warm = [f"self_consistency:n={n},temperature=0.7" for n in (8, 16)]
    assert named("single:temperature=0", *warm) == ["greedy", "vote of 8", "vote of 16"]
    assert named("single", *warm, thinks=True)[1:] == [
        "vote of 8, temperature=0.7",
        "vote of 16, temperature=0.7",
    ]
    # What only one of them sets tells them apart, and a stop rule is never a setting.
    assert named("self_consistency", "self_consistency:max_tokens=96") == [
        "vote of 8",
        "vote of 8, max_tokens=96",
    ]
    assert named("self_consistency:n=16,stop=beta") == ["vote of 16, stop=beta"]
    # The default of a model that thinks is not greedy.
    assert named("single", thinks=True) == ["one sample"]
    # A strategy of another machine has a name too.
    assert named("some_search:n=4") == ["some search of 4"]


def test_a_verifier_is_named_without_options_where_no_other_has_its_name() -> None:
    def both(*verifiers: str) -> list[str]:
        arms = [("best_of_n:n=8", verifier, False) for verifier in verifiers]
        return [name.at(None) for name in arm_names(arms).values()]

    shown, written = "code:tests=[shown]", "code:tests=[written]"
    assert both(shown, "prm") == ["best of 8, code", "best of 8, prm"]
    assert both(shown, written) == [f"best of 8, {shown}", f"best of 8, {written}"]


SPECS = [
    "single",
    "single:temperature=0.0",
    "single:temperature=0.7",
    "self_consistency:n=4",
    "self_consistency:n=16",
    "self_consistency:n=4,temperature=0.7",
    "self_consistency:stop=beta",
    "escalate:then=self_consistency(n=4)",
    "escalate:then=self_consistency(n=16)",
    "best_of_n",
    "mcts",
]


@given(st.lists(st.sampled_from(SPECS), unique=True), st.sampled_from(["", "prm"]))
def test_no_two_strategies_have_one_name_and_a_curve_has_one_strategy(
    specs: list[str], verifier: str
) -> None:
    chosen = [spec_of(build("strategy", spec)) for spec in specs]
    names = arm_names((spec, verifier, False) for spec in chosen)
    assert len({name.at(None) for name in names.values()}) == len(chosen)
    lines: dict[str, set[str]] = {}
    for (strategy, _), name in names.items():
        lines.setdefault(name.series, set()).add(str(name.spec.without("n")))
        assert strategy in chosen
    assert all(len(specs_of_line) == 1 for specs_of_line in lines.values())
