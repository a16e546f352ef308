"""Objects by name: what a spec builds, what it refuses, and that it can be written again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import registry
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UnknownName, UsageError
from reasoner.registry import Kind, aliases, build, entries, names, schema_of, spec_of
from reasoner.stopping.rules import BetaRule
from reasoner.types import SamplingParams
from reasoner_strategies import BestOfN, Refine, SelfConsistency, Single
from reasoner_verifiers import Certainty


@dataclass(frozen=True)
class Toy:
    """A third party's strategy, with options of every kind that text can set."""

    count: int
    share: float = 0.5
    loud: bool = False
    word: str = "x"
    limit: int | None = 3
    name: str | None = None
    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = (1,)
    params: SamplingParams = SamplingParams(temperature=0.1, stop=("!",))
    nested: Mapping[str, int] = field(default_factory=dict)
    opaque: "NoDataclass | None" = None
    hidden: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise UsageError("count is 0 or more")


class NoDataclass:
    """A class that has no options."""


@pytest.fixture(autouse=True)
def _third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    real = entries

    def with_toys(kind: Kind) -> Mapping[str, EntryPoint]:
        here = {
            "toy": f"{__name__}:Toy",
            "plain": f"{__name__}:NoDataclass",
            "broken": "no_such_module:X",
        }
        toys = {
            name: EntryPoint(name, value, "reasoner.strategies")
            for name, value in here.items()
        }
        return {**real(kind), **toys} if kind == "strategy" else real(kind)

    monkeypatch.setattr(registry, "entries", with_toys)
    monkeypatch.setattr(EntryPoint, "load", _load_here(EntryPoint.load))


def _load_here(real: object) -> object:
    # The test module has no name to import it by, so its own entry points are resolved here.
    def load_entry(entry: EntryPoint) -> object:
        module, _, name = entry.value.partition(":")
        return globals()[name] if module == __name__ else real(entry)  # type: ignore[operator]

    return load_entry


@pytest.mark.parametrize(
    ("kind", "spec", "built"),
    [
        ("strategy", "single", Single()),
        ("strategy", "best_of_n:n=4", BestOfN(n=4)),
        (
            "strategy",
            " best_of_n : n = 4 , selector = weighted ",
            BestOfN(n=4, selector="weighted"),
        ),
        (
            "strategy",
            "best_of_n:max_tokens=9",
            BestOfN(params=SamplingParams(max_tokens=9)),
        ),
        (
            "strategy",
            "best_of_n(n=4, of=refine(rounds=1))",
            BestOfN(n=4, of=Refine(rounds=1)),
        ),
        (
            "strategy",
            "best_of_n:n=4,of=refine:rounds=1",
            BestOfN(n=4, of=Refine(rounds=1)),
        ),
        (
            "strategy",
            "best_of_n:stop=[a, b]",
            BestOfN(params=SamplingParams(stop=("a", "b"))),
        ),
        (
            "strategy",
            "self_consistency:params.stop=a",
            SelfConsistency(params=SamplingParams(stop=("a",))),
        ),
        ("strategy", "self_consistency:stop=beta", SelfConsistency(stop=BetaRule())),
        (
            "strategy",
            "self_consistency:stop=beta:theta=0.9,window=2",
            SelfConsistency(stop=BetaRule(0.9), window=2),
        ),
        ("strategy", r'single:stop="\n\n"', Single(SamplingParams(stop=("\n\n",)))),
        (
            "strategy",
            "single:stop=[\u3002,\u00e9]",
            Single(SamplingParams(stop=("\u3002", "\u00e9"))),
        ),
        (
            "strategy",
            'single:stop=[",",a|b]',
            Single(SamplingParams(stop=(",", "a|b"))),
        ),
        (
            "strategy",
            "single:stop_token_ids=[3,5]",
            Single(SamplingParams(stop_token_ids=(3, 5))),
        ),
        ("strategy", "single:thinking=2k", Single(SamplingParams(thinking=2000))),
        ("strategy", "single:thinking=None", Single(SamplingParams(thinking="none"))),
        (
            "strategy",
            "single:logit_bias=[[5,-100],[6,2.5]]",
            Single(SamplingParams(logit_bias=((5, -100), (6, 2.5)))),
        ),
        ("strategy", "single:logprobs=2", Single(SamplingParams(logprobs=2))),
        (
            "verifier",
            "certainty:measure=self_certainty,top_k=3",
            Certainty("self_certainty", 3),
        ),
        (
            "engine",
            "simulated:answers=[1,2],weights=,tokens=9",
            SimulatedEngine(("1", "2"), (), tokens=9),
        ),
        ("strategy", "toy:count=1,loud=true,limit=None", Toy(1, loud=True, limit=None)),
        ("strategy", "toy:1,name=none", Toy(1, name=None)),
        ("strategy", 'toy:1,name="none"', Toy(1, name="none")),
        ("strategy", 'toy:1,word={"a": [1, 2]}', Toy(1, word='{"a": [1, 2]}')),
        ("strategy", "toy:count=1,words=", Toy(1, words=())),
        (
            "strategy",
            "toy:count=1,stop=",
            Toy(1, params=SamplingParams(temperature=0.1)),
        ),
        (
            "strategy",
            "toy:count=1,top_k=2",
            Toy(1, params=SamplingParams(temperature=0.1, top_k=2, stop=("!",))),
        ),
    ],
)
def test_a_spec_builds_an_object(kind: Kind, spec: str, built: object) -> None:
    assert build(kind, spec) == built


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("best_of_m", "no strategy named 'best_of_m'; did you mean 'best_of_n'"),
        ("", "no strategy named ''"),
        ("best_of_n:m=4", "no option of strategy best_of_n named 'm'"),
        ("best_of_n:selektor=argmax", "did you mean 'selector'"),
        ("best_of_n:temprature=1", "did you mean 'temperature'"),
        ("best_of_n:params=1", "no option of strategy best_of_n named 'params'"),
        ("best_of_n:n", "'n' sets nothing: write OPTION=VALUE, as in best_of_n:n=8"),
        ("best_of_n:n=4,n=5", "n is given twice"),
        ("best_of_n:n=4,m", "character 15: 'm' sets nothing: write OPTION=VALUE"),
        (
            "best_of_n:of=refine(rounds=one)",
            "strategy refine: rounds='one' does not fit",
        ),
        (
            "best_of_n:of=refine(rounds=1",
            "character 10: this ends no value: close each bracket",
        ),
        (
            "single:instruction=f(x)",
            r"instruction=f\(x\) does not fit: write one text, in double quotes",
        ),
        ("single:instruction=[a]", r"instruction=\[a\] does not fit"),
        ("best_of_n:of=[refine]", r"of=\[refine\] does not fit: write one text"),
        ("single:stop=[f(x)]", r"stop=f\(x\) does not fit: write one text"),
        ("single:stop_token_ids=[3,x]", "stop_token_ids='x' does not fit"),
        (
            "single:instruction=a b(c)",
            "this is no value: write text with brackets",
        ),
        ("best_of_n:n=many", "n='many' does not fit"),
        ("best_of_n:n=1.5", "n='1.5' does not fit"),
        ("best_of_n:n=0", "n must be .*got 0"),
        ("best_of_n:n=none", "n='none' does not fit"),
        (
            "best_of_n:selector=best",
            "selector='best' does not fit: it must be 'argmax', 'weighted', 'majority', 'last', 'consensus', 'softmax' or 'borda'",
        ),
        ("best_of_n:top_p=2", "top_p must be .*got 2.0"),
        ('single:stop=[""]', "stop='' is empty"),
        (
            "single:thinking=lots",
            "thinking must be none, low, medium, high, or a number of tokens, as in 512 or 2k",
        ),
        ("single:thinking=0", "thinking must be none, low"),
        (
            "single:logit_bias=[[5]]",
            r"logit_bias=\[5\] does not fit: a value is missing",
        ),
        (
            "single:stop=\\n",
            "write text with brackets, quotes or backslashes in double quotes",
        ),
        ("toy", "strategy toy needs count: write toy:count=VALUE"),
        ("toy:count=-1", "count is 0 or more"),
        ("toy:hidden=1,count=1", "no option of strategy toy named 'hidden'"),
        ("toy:count=1,nested=x", "nested='x' does not fit"),
        ("toy:count=1,opaque=x", "toy: opaque cannot be set from text"),
        ("plain", "is not a dataclass"),
        ("broken", "'broken' .no_such_module:X. cannot be imported: No module named"),
    ],
)
def test_an_invalid_spec_says_why(spec: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build("strategy", spec)


def test_a_schema_has_plug_ins_as_text_and_what_no_schema_describes_as_anything() -> (
    None
):
    properties = schema_of(Toy)["properties"]
    assert (properties["opaque"], properties["count"]) == ({}, {"type": "integer"})
    assert schema_of(Toy)["required"] == ["count"]
    assert schema_of(BestOfN)["properties"]["of"] == {"type": "string"}
    assert "params.stop" in schema_of(SelfConsistency)["properties"]


def test_options_given_elsewhere_are_overridden_by_the_spec() -> None:
    assert build("strategy", "best_of_n:n=4", n=9, selector="weighted") == BestOfN(
        n=4, selector="weighted"
    )
    assert build("strategy", "best_of_n", n=9) == BestOfN(n=9)
    with pytest.raises(UnknownName, match="no option of strategy single named 'n'"):
        build("strategy", "single", n=3)


def test_the_first_option_goes_without_its_name() -> None:
    assert build("engine", "replay:trace.jsonl").path == "trace.jsonl"
    assert build("engine", "replay:path=trace.jsonl").path == "trace.jsonl"
    assert build("engine", 'replay:"runs/n=8,a.jsonl"').path == "runs/n=8,a.jsonl"
    with pytest.raises(UsageError, match="engine replay needs path: write replay:FILE"):
        build("engine", "replay")


@pytest.mark.parametrize(
    ("thing", "spec"),
    [
        (BestOfN(), "best_of_n"),
        (BestOfN(n=4, selector="weighted"), "best_of_n:n=4,selector=weighted"),
        (
            SelfConsistency(params=SamplingParams(stop=("\n\n", "a"))),
            r'self_consistency:params.stop=["\n\n",a]',
        ),
        (Single(SamplingParams(logprobs=0)), "single:logprobs=0"),
        (Single(SamplingParams(temperature=0)), "single:temperature=0"),
        (Single(SamplingParams(thinking="none")), "single:thinking=none"),
        (Single(SamplingParams(thinking=2000)), "single:thinking=2000"),
        (
            Single(SamplingParams(logit_bias=((7, -1.5),))),
            "single:logit_bias=[[7,-1.5]]",
        ),
        (Certainty(top_k=3), "certainty:top_k=3"),
        (Toy(1, limit=None), "toy:count=1,limit=none"),
        (Toy(1, name="None", loud=True), 'toy:count=1,loud=true,name="None"'),
        (BestOfN(4, of=Refine(rounds=1)), "best_of_n:n=4,of=refine(rounds=1)"),
        (Toy(1, words=(" a|b", "c,d\\")), r'toy:count=1,words=[" a|b","c,d\\"]'),
    ],
)
def test_an_object_is_written_with_what_is_not_default(
    thing: object, spec: str
) -> None:
    assert spec_of(thing) == spec
    assert (
        build("verifier" if isinstance(thing, Certainty) else "strategy", spec) == thing
    )


texts = st.text(min_size=1, max_size=6)


@given(
    st.builds(
        Toy,
        count=st.integers(0, 10**9),
        share=st.floats(allow_nan=False),
        loud=st.booleans(),
        limit=st.none() | st.integers(),
        word=st.text(),
        name=st.none()
        | st.text()
        | st.sampled_from(("none", "None", "{}", '{"a":1}', "a(b)")),
        words=st.lists(texts, max_size=3).map(tuple),
        numbers=st.lists(st.integers(), max_size=3).map(tuple),
        params=st.builds(
            SamplingParams,
            temperature=st.floats(0, 10),
            max_tokens=st.integers(1, 10**6),
            stop=st.lists(texts, max_size=3).map(tuple),
            logprobs=st.none() | st.integers(0, 20),
        ),
    )
)
def test_a_written_spec_builds_the_same_object(toy: Toy) -> None:
    assert build("strategy", spec_of(toy)) == toy


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("vote8", "self_consistency"),
        ("vote8:n=3,temperature=0.9", "self_consistency:n=3,temperature=0.9"),
        ("best_of_n(n=2, of=auto-low)", "best_of_n:n=2,of=auto(effort=low)"),
        # The strategy of that name goes first.
        ("refine", "refine"),
    ],
)
def test_an_alias_is_a_strategy_with_options(spec: str, meant: str) -> None:
    assert spec_of(build("strategy", spec)) == spec_of(build("strategy", meant))


def test_the_start_of_aliases_leads_to_them() -> None:
    with pytest.raises(UnknownName, match="did you mean 'vote16' or 'vote8'"):
        build("strategy", "vote")
    for name, (spec, _) in aliases().items():
        assert build("strategy", spec)
        assert name in names("strategy")
