"""Replies of /v1/responses, whole and as events, in the types of OpenAI's client."""

from typing import Any, get_args

from openai.types.responses import Response, ResponseStreamEvent

from reasoner.errors import PromptTooLong
from reasoner.serving.errors import ApiError
from reasoner.serving.requests import read
from reasoner.serving.responses import ResponseReply, ResponseRequest
from reasoner.testing.scripted import THINKER, ScriptedEngine
from tests.running import running
from tests.serving.asking import answered, encoded, read_as, refusal, streamed
from tests.serving.test_replies import solved

EVENTS = {
    get_args(event.model_fields["type"].annotation): event
    for event in get_args(get_args(ResponseStreamEvent)[0])
}
"""The types of the events of OpenAI's client, by name."""


def asked(**fields: Any) -> ResponseReply:
    return ResponseReply(
        read(encoded({"model": "m", "input": "How many?", **fields}), ResponseRequest)
    )


def checked(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    for event in events:
        read_as(EVENTS[event["type"],], event)
    return events


def joined(events: list[dict[str, Any]], kind: str) -> str:
    return "".join(
        event["delta"] for event in events if event["type"] == f"response.{kind}.delta"
    )


def items(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        event["item"]
        for event in events
        if event["type"] == "response.output_item.done"
    ]


@running
async def test_a_whole_reply() -> None:
    made = asked(
        instructions="Be brief.", metadata={"a": "b"}, reasoning={"effort": "low"}
    )
    results = await answered(
        ScriptedEngine(lambda _: "It is 7", model=THINKER), made.asked
    )
    reply = read_as(Response, made.whole(results))
    assert reply.output_text == "It is 7"
    assert [item.type for item in reply.output] == ["reasoning", "message"]
    assert reply.output[0].content[0].text == "hm, let me think"
    assert (reply.status, reply.metadata, reply.instructions) == (
        "completed",
        {"a": "b"},
        "Be brief.",
    )
    cost = results[0].solution.cost
    assert reply.usage.total_tokens == cost.prompt_tokens + cost.generated_tokens
    assert (
        reply.usage.output_tokens_details.reasoning_tokens == cost.thinking_tokens > 0
    )
    assert reply.reasoner["strategy"].startswith("single")


@running
async def test_a_reply_that_is_cut_is_incomplete() -> None:
    made = asked(max_output_tokens=2)
    results = await answered(ScriptedEngine(lambda _: "one two three"), made.asked)
    reply = read_as(Response, made.whole(results))
    assert (reply.status, reply.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    events = checked([*made.begin(1), *streamed(made, results)])
    assert events[-1]["type"] == "response.incomplete"


CALLED = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'


@running
async def test_the_calls_of_functions_are_items() -> None:
    tools = [
        {
            "type": "function",
            "name": "weather",
            "parameters": {"type": "object", "properties": {}},
        }
    ]
    made = asked(tools=tools)
    results = await answered(
        ScriptedEngine(lambda _: "I look. " + CALLED + CALLED), made.asked
    )
    reply = read_as(Response, made.whole(results))
    kinds = ["message", "function_call", "function_call"]
    assert [item.type for item in reply.output] == kinds
    assert (reply.status, reply.output_text) == ("completed", "I look.")
    assert [(tool.name, reply.tool_choice) for tool in reply.tools] == [
        ("weather", "auto")
    ]
    first, second = reply.output[-2:]
    assert (first.name, first.arguments) == ("weather", '{"city": "Oslo"}')
    assert first.call_id != second.call_id
    events = checked([*made.begin(1), *streamed(made, results)])
    assert joined(events, "function_call_arguments") == 2 * '{"city": "Oslo"}'
    assert (
        items(events)
        == events[-1]["response"]["output"]
        == made.whole(results)["output"]
    )
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == [*range(len(kinds))]
    assert [event["item"]["type"] for event in added] == kinds


def test_a_reply_without_text_has_a_message_and_a_failure_is_the_last_event() -> None:
    made = asked()
    events = checked([*made.begin(1), *streamed(made, solved())])
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""
    made = asked()
    events = [*made.begin(1)]
    error = refusal(
        lambda: streamed(made, solved(error=PromptTooLong(9, 5), ended_by="error"))
    )
    events = checked([*events, *made.fail(error)])
    assert events[-1]["response"]["status"] == "failed"
    assert "shorten it" in events[-1]["response"]["error"]["message"]
    [failed] = asked().fail(ApiError(429, "wait"))
    assert failed["response"]["error"]["code"] == "rate_limit_exceeded"
