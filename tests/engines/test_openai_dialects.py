"""The engine over HTTP with servers that differ: what they refuse, what they call things, and what they are sent."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from reasoner.engines.openai import OpenAIEngine
from reasoner.errors import UsageError
from reasoner.registry import build, spec_of
from tests.engines.drawing import ASKED, draw
from tests.engines.fake_server import FakeServer, Fault, text_only
from tests.engines.raw_server import raw_server, whole
from tests.running import running

CHAT, RAW = "/v1/chat/completions", "/v1/completions"
UNSUPPORTED = {
    "error": {
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
        "instead.",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": "unsupported_parameter",
    }
}


# /tokenize


@running
async def test_a_server_whose_tokenize_takes_no_messages_gets_text() -> None:
    async def serve(
        body: dict[str, Any], _: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        choice = {"message": {"content": "4"}, "finish_reason": "stop"}
        writer.write(
            whole(
                {
                    "choices": [choice],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 1},
                }
            )
        )

    async def tokenize(body: dict[str, Any]) -> bytes:
        if "messages" in body:
            return whole(
                {"detail": [{"loc": ["body", "prompt"], "msg": "field required"}]},
                "422 Unprocessable",
            )
        return whole({"tokens": [1, 2], "count": 2, "max_model_len": 4096})

    async with raw_server(serve, tokenize=tokenize) as url:
        engine = OpenAIEngine(base_url=url)
        assert (await draw(engine, interruptible=False)).text == "4"
        assert (await engine.render(ASKED)).token_ids is None
        assert engine.notes[0].startswith("the server takes no token ids")


def test_the_code_in_docs_servers_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "servers.md").read_text()
    [code] = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    with text_only() as server:
        exec(
            compile(
                code.replace("http://localhost:8000/v1", server.url),
                "docs/servers.md",
                "exec",
            ),
            {},
        )
    assert "text='4'" in capsys.readouterr().out


# What is refused is left out or called otherwise, and that is remembered


def refusing(said: object, times: int = 1, status: int = 400) -> FakeServer:
    return text_only(
        faults=[
            Fault("status", status, said if isinstance(said, str) else json.dumps(said))
        ]
        * times
    )


@pytest.mark.parametrize("interruptible", [True, False])
@pytest.mark.parametrize(
    ("said", "status"),
    [
        (UNSUPPORTED, 400),
        (
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "max_tokens"],
                        "msg": "Extra inputs",
                    }
                ]
            },
            422,
        ),
    ],
)
def test_max_completion_tokens_is_used_where_max_tokens_is_refused(
    said: object, status: int, interruptible: bool
) -> None:
    async def run(engine: OpenAIEngine) -> None:
        for _ in range(2):
            assert (
                await draw(engine, interruptible=interruptible)
            ).text == "The answer is 4"

    with refusing(said, status=status) as server:
        engine = OpenAIEngine(base_url=server.url)
        asyncio.run(run(engine))
        limits = [
            (body.get("max_tokens"), body.get("max_completion_tokens"))
            for body in server.sent(CHAT)
        ]
    assert limits == [(32, None), (None, 32), (None, 32)]
    assert [note for note in engine.notes if "max_completion_tokens" in note]


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("Unknown field: stream_options", "stream_options"),
        ("seed: Extra inputs are not permitted", "seed"),
    ],
)
def test_what_a_server_does_not_know_is_left_out(said: str, gone: str) -> None:
    with refusing(said, status=422) as server:
        engine = OpenAIEngine(base_url=server.url)
        asyncio.run(draw(engine))
        first, second = server.sent(CHAT)
        assert first.keys() - second.keys() == {gone}
        assert [note for note in engine.notes if gone in note]


def test_a_server_that_only_streams_is_streamed() -> None:
    with refusing("this model only supports stream mode") as server:
        engine = OpenAIEngine(base_url=server.url)
        assert asyncio.run(draw(engine, interruptible=False)).text == "The answer is 4"
        assert [body.get("stream") for body in server.sent(CHAT)] == [None, True]


def test_a_server_that_refuses_whatever_is_changed_is_given_up() -> None:
    with (
        refusing(UNSUPPORTED, times=99) as server,
        pytest.raises(UsageError, match="Unsupported parameter"),
    ):
        asyncio.run(draw(OpenAIEngine(base_url=server.url)))
    assert len(server.sent(CHAT)) == 2


# extra_body

EXTRA = (
    '{"chat_template_kwargs": {"enable_thinking": false}, "repetition_penalty": 1.1}'
)


@pytest.mark.parametrize("vllm", [True, False])
@pytest.mark.parametrize("interruptible", [True, False])
def test_extra_body_is_part_of_each_request_and_of_what_is_tokenized(
    vllm: bool, interruptible: bool
) -> None:
    with FakeServer(vllm=vllm, owner="someone") as server:
        asyncio.run(
            draw(
                OpenAIEngine(base_url=server.url, extra_body=EXTRA),
                interruptible=interruptible,
            )
        )
        sent = server.sent(RAW if vllm else CHAT)
        if vllm:
            sent += server.sent("/tokenize")[1:]
        assert len(sent) == 1 + vllm
        for body in sent:
            assert body["chat_template_kwargs"] == {"enable_thinking": False}
            assert body["repetition_penalty"] == 1.1


def test_extra_body_is_an_option_of_the_spec_as_text_or_as_a_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "extra.json"
    file.write_text(EXTRA)
    for given in (str(file), EXTRA):
        engine = build("engine", f"openai:extra_body={given}")
        assert engine._extra == json.loads(EXTRA)
        assert build("engine", spec_of(engine))._extra == engine._extra


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("{not json", "is neither a JSON object nor a file"),
        ("/dev/zero", "is neither a JSON object nor a file"),
        (
            '{"n": 4, "stream": true}',
            "extra_body sets n, stream, which the engine sets itself",
        ),
    ],
)
def test_extra_body_that_cannot_be_merged_is_refused(given: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        OpenAIEngine(extra_body=given)


# Thinking
