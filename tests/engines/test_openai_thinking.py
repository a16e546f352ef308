"""Models that think behind a server: how it is found out, and how their replies are split."""

import asyncio
import json
from typing import Any

import pytest

from reasoner.engine import TextPiece
from reasoner.engines import ReplyParts
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.openai.requests import by_text, may_think
from reasoner.errors import RequestLost, UsageError
from reasoner.models.families import profile_of
from reasoner.models.thinking import ThinkingProfile
from reasoner.registry import build
from reasoner.types import Prompt, Usage
from tests.engines.drawing import ALWAYS, ASKED, HEAD, THOUGHTS, draw, drawn, thinker
from tests.engines.fake_server import FakeServer, Fault, text_only
from tests.engines.fake_tokenizer import CLOSE, EOS, THINK

CHAT, RAW = "/v1/chat/completions", "/v1/completions"
HYBRID = "/models/Qwen3-8B"


def profile(server: FakeServer, **options: Any) -> ThinkingProfile | None:
    engine = OpenAIEngine(base_url=server.url, **options)
    asyncio.run(engine.start())
    return engine.model.thinking


# The profile


@pytest.mark.parametrize(("root", "when"), [(HYBRID, "on_request"), (ALWAYS, "always")])
def test_the_name_of_the_model_tells_how_it_thinks_and_the_tokenizer_the_ids_of_its_markers(
    root: str, when: str
) -> None:
    with FakeServer(root=root, opens=True) as server:
        found = profile(server)
    assert found
    assert (found.when, found.start, found.end) == (when, (THINK,), (CLOSE,))
    # Where the template knows no switch, the name alone says nothing of a model that can do without thinking.
    with FakeServer(root=root) as server:
        assert (profile(server) is None) == (when == "on_request")


def test_the_option_overrides_the_name() -> None:
    with FakeServer(root=ALWAYS) as server:
        assert profile(server, reasoning_parser="none") is None
        found = profile(server, reasoning_parser="qwen3")
        assert found
        assert found.when == "on_request"
        with pytest.raises(
            UsageError,
            match=r"no reasoning parser named 'qwen4'; did you mean 'qwen3'\?",
        ):
            profile(server, reasoning_parser="qwen4")
    assert build("engine", "openai:reasoning_parser=qwen3").reasoning_parser == "qwen3"


# Parts by token ids


@pytest.mark.parametrize("interruptible", [True, False])
@pytest.mark.parametrize("opens", [True, False])
def test_thinking_and_final_part_are_split_by_token_ids(
    opens: bool, interruptible: bool
) -> None:
    with thinker(opens=opens) as server:
        one = drawn(server, interruptible=interruptible, logprobs=1)
        assert server.sent(RAW)[0]["skip_special_tokens"] is False
    thought = len(THOUGHTS) + 1 + (not opens)
    assert (one.thinking, one.text, one.unclosed) == (
        "Is it 12?",
        "The answer is 4",
        False,
    )
    assert one.usage == Usage(len(HEAD) + opens, 0, thought + 5, thought)
    assert one.final_token_ids == (500, 501, 502, 503, EOS)
    assert one.logprobs is not None
    assert len(one.logprobs.sampled) == len(one.token_ids)


def test_thinking_that_is_cut_is_unclosed_and_is_continued_by_its_ids() -> None:
    async def run(engine: OpenAIEngine) -> None:
        first = await draw(engine, max_tokens=3)
        assert (first.thinking, first.text, first.unclosed, first.truncated) == (
            "Is it 12",
            "",
            True,
            True,
        )
        assert first.usage.thinking_tokens == 3
        grown = ASKED.then(first)
        assert (await engine.render(grown)).in_thinking
        await draw(engine, grown)
        assert server.sent(RAW)[-1]["prompt"] == [*HEAD, THINK, 700, 701, 702]

    with thinker() as server:
        asyncio.run(run(OpenAIEngine(base_url=server.url)))


def test_what_a_user_writes_opens_nothing() -> None:
    asked = Prompt.chat("What does <think> mean?")
    with thinker(thinking=(), opens=False) as server:
        one = drawn(server, asked)
        assert (one.text, one.thinking, one.unclosed) == ("The answer is 4", "", False)


# Parts by fields and by markers in the text


@pytest.mark.parametrize("interruptible", [True, False])
@pytest.mark.parametrize(
    "thinks_in", ["reasoning", "reasoning_content", "both", "list", "text"]
)
@pytest.mark.parametrize("name", ["Qwen3-8B", "unknown"])
def test_a_server_without_ids_sends_thinking_in_a_field_or_between_its_markers(
    name: str, thinks_in: str, interruptible: bool
) -> None:
    with text_only(models=(name,), thinking=THOUGHTS, thinks_in=thinks_in) as server:
        one = drawn(server, interruptible=interruptible)
    assert (one.thinking, one.text, one.unclosed) == (
        "Is it 12?",
        "The answer is 4",
        False,
    )
    assert one.usage.generated_tokens == 11
    assert 0 < one.usage.thinking_tokens <= 6


@pytest.mark.parametrize("opens", [True, False])
def test_a_text_that_was_cut_without_a_marker_is_thinking_where_the_model_always_thinks(
    opens: bool,
) -> None:
    with text_only(
        models=("DeepSeek-R1" if opens else "Qwen3-8B",),
        reply=("It is 12 or",),
        finish="length",
    ) as server:
        one = drawn(server, max_tokens=1)
    assert one.unclosed == opens


@pytest.mark.parametrize("interruptible", [True, False])
def test_the_servers_count_of_thinking_tokens_is_used(interruptible: bool) -> None:
    with text_only(thinking=THOUGHTS, reports_thinking=True) as server:
        engine = OpenAIEngine(base_url=server.url)
        one = asyncio.run(draw(engine, interruptible=interruptible))
    assert one.usage.thinking_tokens == 6
    assert not [note for note in engine.notes if "thinking tokens" in note]


def test_without_a_count_it_is_a_lower_bound_and_a_note_says_so() -> None:
    with text_only(thinking=("x" * 50,) * 40, reply=("4",)) as server:
        engine = OpenAIEngine(base_url=server.url)
        one = asyncio.run(draw(engine, interruptible=False, max_tokens=64))
    # Of 44 tokens, the final part has at most one for its byte and one for its end.
    assert (one.usage.generated_tokens, one.usage.thinking_tokens) == (44, 42)
    assert [note for note in engine.notes if "does not count thinking tokens" in note]


def test_thinking_that_is_counted_beside_the_rest_is_generated_too() -> None:
    used: dict[str, Any] = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 51,
    }
    used |= {"completion_tokens_details": {"reasoning_tokens": 40}}
    event = {
        "choices": [{"index": 0, "delta": {"content": "4"}, "finish_reason": "stop"}],
        "usage": used,
    }
    with text_only(
        faults=[Fault("send", body=f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n")]
    ) as server:
        assert drawn(server, max_tokens=64).usage == Usage(9, 0, 42, 40)


def sent_by(*deltas: object, finish: str = "stop") -> FakeServer:
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    lines = [
        *map(json.dumps, events),
        json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}),
    ]
    return text_only(
        models=("Qwen3-8B",),
        faults=[Fault("send", body="".join(f"data: {line}\n\n" for line in lines))],
    )


@pytest.mark.parametrize(
    ("deltas", "thinking", "final"),
    [
        (
            [{"reasoning": "hm", "reasoning_content": "another"}, {"content": "4"}],
            "hm",
            "4",
        ),
        (
            [{"reasoning": "hm"}, {"content": "The tag </think> ends it."}],
            "hm",
            "The tag </think> ends it.",
        ),
        (
            [{"content": "<thi"}, {"content": "nk>hm</th"}, {"content": "ink>4"}],
            "hm",
            "4",
        ),
        (
            [{"content": "hm</think>4, said after <think>"}],
            "hm",
            "4, said after <think>",
        ),
        ([{"content": "4"}, {"reasoning": ""}, {"reasoning_content": None}], "", "4"),
    ],
)
def test_markers_and_fields_in_odd_places(
    deltas: list[object], thinking: str, final: str
) -> None:
    with sent_by(*deltas) as server:
        one = drawn(server)
    assert (one.thinking, one.text) == (thinking, final)


@pytest.mark.parametrize("value", [7, ["hm"]])
def test_reasoning_that_is_no_text_is_a_malformed_event(value: object) -> None:
    with (
        sent_by({"reasoning": value}) as server,
        pytest.raises(RequestLost, match="malformed event"),
    ):
        drawn(server)


@pytest.mark.parametrize(
    ("opening", "thinking"),
    [
        ("<mm:think>", "</mm:think>"),
        ("Here is my thought process:", "Here is my response:"),
    ],
)
def test_a_server_of_an_unknown_model_shows_how_it_thinks(
    opening: str, thinking: str
) -> None:
    assert by_text(f"{opening}hm{thinking}4", None, opened=False, cut=False)[:3] == (
        "hm",
        "4",
        False,
    )
    assert by_text(f"{opening}hm", None, opened=False, cut=True)[:3] == ("hm", "", True)
    assert may_think(opening[:3])
    assert not may_think("Here is the answer")
    assert (
        by_text(f"4, said {opening}", None, opened=False, cut=False).final
        == f"4, said {opening}"
    )


def test_the_parts_of_a_text_of_gpt_oss_are_its_channels() -> None:
    text = "<|channel|>analysis<|message|>Is it 12?<|end|><|start|>assistant<|channel|>final<|message|>It is 7"
    known = profile_of("gpt-oss-120b")
    assert by_text(text, known, opened=False, cut=False) == ReplyParts(
        "Is it 12?", "It is 7"
    )
    assert by_text(text[:50], known, opened=False, cut=True).unclosed


@pytest.mark.parametrize(
    ("server", "params", "passed"),
    [
        (FakeServer(), {}, ("", "The answer is 4")),
        (text_only(), {}, ("", "The answer is 4")),
        (
            text_only(thinking=THOUGHTS, thinks_in="reasoning"),
            {},
            ("Is it 12?", "The answer is 4"),
        ),
        (text_only(thinking=THOUGHTS, thinks_in="text"), {}, ("", "")),
        (thinker(), {}, ("", "")),
        (thinker(), {"thinking": "none"}, ("", "The answer is 4")),
    ],
    ids=[
        "ids",
        "text",
        "own field",
        "markers in the text",
        "markers in the ids",
        "without thinking",
    ],
)
def test_what_surely_belongs_to_a_part_is_passed_on_as_it_comes(
    server: FakeServer, params: dict[str, Any], passed: tuple[str, str]
) -> None:
    pieces: list[TextPiece] = []
    with server:
        prompt = ASKED.at_level(params.get("thinking"))
        completion = asyncio.run(
            draw(
                OpenAIEngine(base_url=server.url),
                prompt,
                interruptible=False,
                on_text=pieces.append,
            )
        )
    joined = tuple(
        "".join(piece.text for piece in pieces if piece.thinking == part)
        for part in (True, False)
    )
    assert joined == passed
    assert completion.text == "The answer is 4"
    assert pieces or not any(passed)
