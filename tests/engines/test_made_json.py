"""A value of a JSON schema: it satisfies the schema and holds the answer, or the refusal says what is not made."""

import json
from typing import Any

import jsonschema
import pytest

from reasoner.engines.made_json import made_json
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
        ({"properties": {"sum": {"type": "integer"}, "why": {"type": "string"}}}, "7", {"sum": 7, "why": "7"}),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]}, "7", {"b": "7"}),
        ({"type": "integer", "minimum": 10}, "7", 10),
        ({"type": "number"}, "0.75", 0.75),
        ({"type": "integer"}, "none", 7),
        ({"type": ["null", "string"]}, "7", "7"),
        ({"type": "boolean"}, "no", False),
        ({"type": "null"}, "no", None),
        ({"enum": ["a", "7"]}, "7", "7"),
        ({"const": [1]}, "7", [1]),
        ({"oneOf": [{"type": "number"}, {"type": "string"}]}, "1,000", 1000),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, "7", [7, 7]),
    ],
)
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
        ({"properties": {"a": {"not": {"type": "string"}}}}, "the keyword not"),
        ({"$ref": "#"}, "no value so large"),
        ({"type": "array", "minItems": 10**9}, "no value so large"),
        ({"$ref": "#/nowhere"}, "cannot read this JSON schema"),
        ({"required": 7, "type": "object"}, "cannot read this JSON schema"),
        ({"anyOf": 7}, "cannot read this JSON schema"),
    ],
)
def test_what_is_not_made_is_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        made_json(json.dumps(schema), "7")


def test_alternatives_take_turns() -> None:
    schema = json.dumps({"anyOf": [{"const": 1}, {"const": 2}]})
    assert [made_json(schema, "7", turn) for turn in range(3)] == ["1", "2", "1"]
