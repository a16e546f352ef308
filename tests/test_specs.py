"""The text form of objects: what is read, what is written, and what is refused in one line."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UsageError
from reasoner.specs import MAX_DEPTH, MAX_LENGTH, BareWord, Spec, Value, written

names = st.text(string.ascii_lowercase + "_.", min_size=1, max_size=6)
bare = st.text(
    string.ascii_letters + "0123456789.:-+/|\u3002", min_size=1, max_size=6
).map(BareWord)
texts = st.text(max_size=8) | st.sampled_from(
    ["none", "None", "", " ", "{}", '{"a": "]"}', "a,b", "f(x)", "\\n", "\n", '"']
)


def specs(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Spec]:
    return st.builds(Spec, names, st.dictionaries(names, values, max_size=3))


def levels(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return st.lists(values, max_size=3).map(tuple) | specs(values).filter(
        lambda spec: bool(spec.options)
    )


values: st.SearchStrategy[Value] = st.recursive(bare | texts, levels, max_leaves=12)


@given(specs(values))
def test_a_written_spec_is_read_as_the_same(spec: Spec) -> None:
    assert Spec.parse(str(spec)) == spec
    assert Spec.parse(spec.nested()) == spec
    assert "\n" not in str(spec)


@given(bare | texts)
def test_quoted_text_stays_apart_from_a_bare_word(value: Value) -> None:
    read = Spec.parse(f"a:b={written(value)}").options["b"]
    assert read == value
    assert not (
        isinstance(read, BareWord)
        and read.lower() == "none"
        and not isinstance(value, BareWord)
    )


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("single", Spec("single")),
        ("a:b=1,", Spec("a", {"b": "1"})),
        ("a( b = 1 , c = x y )", Spec("a", {"b": "1", "c": "x y"})),
        (
            "a:b=c(d=e(f=1),g=[h,i(j=2)])",
            Spec(
                "a",
                {
                    "b": Spec(
                        "c",
                        {"d": Spec("e", {"f": "1"}), "g": ("h", Spec("i", {"j": "2"}))},
                    )
                },
            ),
        ),
        ("a:b=c:d=1,e=2", Spec("a", {"b": "c:d=1", "e": "2"})),
        ("a:first,b=2", Spec("a", {"": "first", "b": "2"})),
        ("a:b=http://host:1/v1?x=1", Spec("a", {"b": "http://host:1/v1?x=1"})),
        (r'a:b="x, (y) \\ \"z\"\n"', Spec("a", {"b": 'x, (y) \\ "z"\n'})),
        ('a:b={"c": [1, ")"]},d=2', Spec("a", {"b": '{"c": [1, ")"]}', "d": "2"})),
        ("a:b=,c=[]", Spec("a", {"b": "", "c": ()})),
    ],
)
def test_a_spec_is_read(text: str, spec: Spec) -> None:
    assert Spec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a(b=1", "character 2: this ends no value: close each bracket"),
        ("a(b=1)c", "character 7: this ends no value"),
        ("a:b=[1)", "character 7: this ends no value"),
        ('a:b="x', "character 5: this ends no value"),
        ('a:b="\\z"', "character 5: malformed JSON string"),
        ('a:b={"x":', "this ends no value"),
        (r'a:b="\ud800"', "character 5: malformed JSON string"),
        ("a:b=\udc80", "character 5: this character is not UTF-8 text"),
        ("a:b=1,b=2", "character 7: b is given twice: keep one"),
        ("a:b=1,2", "character 7: '2' sets nothing: write OPTION=VALUE"),
        ("a,b=1", "character 2: .*as in a:b=1"),
        ("a:b=c d(e=1)", "character 5: this is no value: write text with brackets"),
    ],
)
def test_malformed_specs_are_refused_at_their_position(
    text: str, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        Spec.parse(text)
    assert "\n" not in str(caught.value)


def test_nesting_and_length_are_bounded() -> None:
    deepest = "a:b=" + "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert Spec.parse(deepest).name == "a"
    for hostile in (
        "a:b=" + "[" * 10**5,
        "a(b=" * 10**5,
        "a:b=" + '{"a":' * 10**5,
        "(" * 10**5,
        "x" * (MAX_LENGTH + 1),
    ):
        with pytest.raises(UsageError) as caught:
            Spec.parse(hostile)
        assert len(str(caught.value)) < 250


def test_options_are_left_out_at_every_depth() -> None:
    spec = Spec.parse(
        "panel(members=[ray(engine=vllm(model_id=x,kv_gib=2),replicas=2),openai(timeout=9)])"
    )
    assert (
        str(spec.without("kv_gib", "replicas", "timeout"))
        == "panel:members=[ray(engine=vllm(model_id=x)),openai]"
    )
