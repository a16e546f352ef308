"""A value of a JSON schema: it satisfies the schema and holds the answer, or the refusal says what is not made."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.engines.made_json import made_json, schema_in
from reasoner.errors import UsageError

NODE = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/Node",
}


@pytest.mark.parametrize(
    ("schema", "answer", "value"),
    [
        ({"type": "object"}, "7", {}),
        ({"type": "object", "properties": {"sum": {"type": "integer"}, "why": {"type": "string"}}}, "7", {"sum": 7, "why": "7"}),
        ({"type": "integer", "minimum": 10, "maximum": 20, "multipleOf": 4}, "7", 12),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "7", 0.999),
        ({"type": "number"}, "3/4", 0.75),
        ({"type": "integer"}, "none", 7),
        ({"type": ["null", "string"], "minLength": 3, "maxLength": 4}, "7", "7.."),
        ({"type": "string", "format": "date"}, "7", "2026-01-01"),
        ({"type": "boolean"}, "no", False),
        ({"enum": ["a", "7"]}, "7", "7"),
        ({"const": [1]}, "7", [1]),
        ({"anyOf": [{"type": "string", "pattern": "x"}, {"type": "number"}]}, "7", 7),
        ({"allOf": [{"properties": {"a": {"type": "null"}}}, {"required": ["a"]}], "type": "object"}, "7", {"a": None}),
    ],
)  # fmt: skip
def test_a_value_holds_the_answer_where_it_may(schema: dict[str, Any], answer: str, value: object) -> None:
    made = json.loads(made_json(json.dumps(schema), answer))
    assert made == value
    jsonschema.Draft202012Validator(schema).validate(made)


def test_a_value_that_holds_itself_ends() -> None:
    made = made_json(json.dumps(NODE), "7")
    jsonschema.Draft202012Validator(NODE).validate(json.loads(made))
    assert len(made) < 300


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string", "pattern": "(a+)+$"}, "the keyword pattern"),
        ({"not": {"type": "string"}}, "the keyword not"),
        ({"type": "string", "minLength": 10**9}, "no text of 1,000,000,000 characters"),
        ({"type": "array", "minItems": 100, "items": {"type": "array", "minItems": 100}}, "no value so large"),
        ({"$ref": "#"}, "no value so large"),
        ({"$ref": "https://example.com/schema"}, "points to nothing"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no number within the limits"),
        ({"type": "array", "minItems": 3, "uniqueItems": True}, "no list of 3 items"),
        ({"type": "array", "minItems": 10**9}, "no list of 1,000,000,000 items"),
        ({"type": "object", "minProperties": 1}, "the keyword minProperties"),
        ({"type": "letter"}, "none of JSON's"),
        ({"required": 7}, "cannot read this JSON schema"),
        ({"type": "integer", "minimum": "x"}, "cannot read this JSON schema"),
        ({"anyOf": 7}, "must be a list"),
    ],
)
def test_what_is_not_made_is_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        made_json(json.dumps(schema), "7")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Use {"properties": {"a": {}}} now.', {"properties": {"a": {}}}),
        ('{"x": 1} {bad} {"properties": 7} {"properties": {}}', {"properties": {}}),
        ("{" * 100 + '{"properties": {}}', None),
        ("no schema", None),
    ],
)
def test_a_schema_is_found_in_a_prompt(text: str, found: object) -> None:
    assert json.loads(schema_in(text) or "null") == found


def test_alternatives_take_turns() -> None:
    schema = json.dumps({"anyOf": [{"const": 1}, {"const": 2}]})
    assert [made_json(schema, "7", turn) for turn in range(3)] == ["1", "2", "1"]


LEAVES = st.sampled_from(
    [{"type": "integer", "minimum": 3}, {"type": "string", "minLength": 2}, {"enum": [None, 7]}, {"type": "boolean"}, {}, True]
)  # fmt: skip
SCHEMAS = st.recursive(
    LEAVES,
    lambda part: st.one_of(
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, part, st.integers(0, 2)),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(part.filter(lambda each: each is not True), min_size=1, max_size=2)),
        st.builds(lambda own: {"properties": own, "required": [*own]}, st.dictionaries(st.sampled_from("abc"), part)),
    ),
    max_leaves=8,
)  # fmt: skip


@given(SCHEMAS, st.sampled_from(["7", "3/4", "", "no", "é"]))
def test_every_value_satisfies_its_schema(schema: Any, answer: str) -> None:
    made = made_json(json.dumps(schema), answer)
    jsonschema.Draft202012Validator(schema).validate(json.loads(made))
