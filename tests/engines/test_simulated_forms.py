"""The forms of replies of the simulated engine: JSON of a schema, and calls of tools."""

import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Question, SamplingParams, solve_many_sync
from reasoner.answers.tool_calls import read_calls
from reasoner.engines.simulated import SimulatedEngine
from reasoner.engines.simulated_replies import instance
from reasoner.errors import UsageError
from reasoner.strategy import Plan, sample
from reasoner.testing.support import Planned
from reasoner.types import Answer, Completion, Message, Prompt


def replies(
    *turns: Message | str,
    tools: str = "",
    schema: str = "",
    count: int = 1,
    max_tokens: int = 100_000,
    **options: Any,
) -> list[str]:
    """What the engine replies to a chat; a text is a turn of the user."""
    messages = tuple(
        Message("user", turn) if isinstance(turn, str) else turn for turn in turns
    )
    drawn = list[Completion]()

    def plan(question: Question) -> Plan[Answer | None]:
        params = SamplingParams(max_tokens=max_tokens, json_schema=schema)
        drawn.extend(
            (yield from sample(Prompt(messages, tools=tools), n=count, params=params))
        )
        return None

    [solution] = solve_many_sync(
        [Question.of("?", space="free")], Planned(plan), SimulatedEngine(**options)
    )
    assert solution.error is None, solution.error
    return [completion.text for completion in drawn]


SCALARS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just(True),
    st.builds(dict, const=st.sampled_from((None, 7, "a", [1]))),
    st.builds(
        dict,
        enum=st.lists(
            st.one_of(st.none(), st.integers(), st.text(max_size=3)),
            min_size=1,
            max_size=4,
        ),
    ),
    st.builds(
        dict,
        type=st.sampled_from(
            ("boolean", "string", "number", ["integer", "null"], ["null", "string"])
        ),
    ),
)


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
    return names.flatmap(
        lambda properties: st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.just(properties),
                "required": st.lists(
                    st.sampled_from(sorted(properties) or ["d"]),
                    unique=True,
                    max_size=3 if properties else 0,
                ),
                "additionalProperties": st.booleans(),
            }
        )
    )


def arrays(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(dict, items=values, type=st.just("array"))


SCHEMAS = st.recursive(
    SCALARS | st.just({"$ref": "#/$defs/a~1b", "description": "defined elsewhere"}),
    lambda values: st.one_of(
        objects(values),
        arrays(values),
        st.builds(
            dict, anyOf=st.lists(values, min_size=1, max_size=3), title=st.just("any")
        ),
    ),
    max_leaves=8,
)
DEFINED = st.sampled_from(
    (
        {"type": "integer"},
        {
            "properties": {
                "next": {"$ref": "#/$defs/a~1b"},
                "many": {"items": {"$ref": "#/$defs/a~1b"}},
            }
        },
        {
            "anyOf": [
                {"items": {"$ref": "#/$defs/a~1b"}, "type": "array"},
                {"type": "null"},
            ]
        },
    )
)


@given(
    SCHEMAS, DEFINED, st.sampled_from(("7", "-2/3", "0.5", "Rome", "")), st.integers()
)
def test_a_reply_satisfies_its_schema_and_is_a_function_of_its_seed(
    schema: Any, defined: Any, answer: str, seed: int
) -> None:
    whole = {"anyOf": [schema], "$defs": {"a/b": defined}}
    first, again = (
        instance(json.dumps(whole), answer, random.Random(seed)) for _ in range(2)
    )
    assert first == again
    jsonschema.Draft202012Validator(whole).validate(json.loads(first))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"properties": {"sum": {"type": "integer"}, "note": {"type": "string"}}},
            {"sum": 7, "note": "7"},
        ),
        ({"enum": ["A", 7, "B"]}, 7),
        ({"type": "object"}, {"answer": 7}),
        ({}, 7),
    ],
)
def test_a_schema_lets_a_reply_say_its_answer(schema: Any, value: Any) -> None:
    assert json.loads(instance(json.dumps(schema), "7", random.Random(1))) == value


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"not": {}}, "keyword not"),
        ({"enum": []}, "is no JSON schema"),
        ({"$ref": "#"}, "at most 40 levels"),
        ({"anyOf": []}, "is no JSON schema"),
        (
            {"$ref": "https://example.com/schema"},
            r"outside of itself: put it into \$defs",
        ),
        ({"type": "text"}, "is no JSON schema"),
        ({"minLength": 10**9}, "keyword minLength"),
        ({"type": "string", "pattern": "("}, "keyword pattern"),
        ({"allOf": [{"type": "string"}]}, "keyword allOf"),
    ],
)
def test_a_schema_without_an_instance_is_refused_in_little_work(
    schema: Any, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        instance(json.dumps(schema), "7", random.Random(0))


def function(name: str, **parameters: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "parameters": {"properties": parameters}},
    }


TOOLS = json.dumps(
    [
        function("weather", city={"type": "string"}),
        function("add", a={"type": "integer"}),
    ]
)


def call_of(name: str, properties: Any) -> dict[str, Any]:
    return {
        "properties": {"name": {"const": name}, "arguments": {"properties": properties}}
    }


def test_a_tool_is_called_where_it_must_be_or_is_named_and_each_once() -> None:
    must = json.dumps(
        {"anyOf": [call_of("weather", {"city": {}}), call_of("add", {"a": {}})]}
    )
    called = Message(
        "assistant",
        "",
        json.dumps(
            {"tool_calls": [{"function": {"name": "weather", "arguments": "{}"}}]}
        ),
    )
    made = [
        replies("What is 3 + 4?", tools=TOOLS, schema=must, accuracy=1)[0],
        replies("What is 3 + 4? Use add.", tools=TOOLS, schema=must, accuracy=1)[0],
        replies("Rome?", called, Message("tool", "sunny"), tools=TOOLS, schema=must)[0],
        replies("Please add.\n\nWhat is 3 + 4?", tools=TOOLS, accuracy=1)[0],
    ]
    read = [read_calls(text) for text in made]
    assert [
        [(call.name, call.arguments) for call in each.calls] for each in read if each
    ] == [
        [("weather", '{"city": 7}')],
        [("add", '{"a": 7}')],
        [("add", '{"a": 7}')] if "7" in made[2] else [("add", '{"a": 8}')],
        [("add", '{"a": 7}')],
    ]
    assert replies("What is 3 + 4?", tools=TOOLS, accuracy=1) == ["The answer is 7"]
    assert replies(
        "Please add.", called, Message("tool", "7"), tools=TOOLS, answers=("7",)
    ) == ["The answer is 7"]


def test_a_reply_that_is_cut_is_a_beginning_without_the_answer() -> None:
    texts = set(replies("What is 3 + 4?", count=60, max_tokens=60))
    assert (
        {"The", "The answer"}
        <= texts
        <= {
            "The",
            "The answer",
            "The answer is",
            *(f"The answer is {n}" for n in (6, 7, 8, 17)),
        }
    )
