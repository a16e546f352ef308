"""Keys and passwords: whatever a server sends back, nothing that is shown or recorded holds them."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from reasoner import Question, solve
from reasoner.engines.openai import OpenAIEngine
from reasoner.errors import EngineUnavailable, UsageError
from reasoner.registry import spec_of
from reasoner.system.printing import Secrets, shown_address
from reasoner.trace.events import TraceWriter
from reasoner_strategies import SelfConsistency, Single
from tests.engines.fake_server import FakeServer, Fault

KEY = "sk-Se/cret+42&x"
FORMS = {
    "plain": KEY,
    "json": json.dumps(KEY).replace("/", "\\/"),
    "unicode": "".join(f"\\u{ord(char):04x}" for char in KEY),
    "percent": quote(KEY, safe=""),
    "every percent": "".join(f"%{ord(char):02x}" for char in KEY),
    "html": KEY.replace("&", "&amp;"),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 in a header": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "hex": KEY.encode().hex(),
}


def found(text: str) -> list[str]:
    """The forms of the key that a text holds, whole or but for the ends that base64 shares with its neighbours."""
    inner = {
        name: form if "base64" not in name else form[12:-6]
        for name, form in FORMS.items()
    }
    return [name for name, form in inner.items() if form in text]


def solved(
    server: FakeServer, trace: Path, strategy: Any = None, **options: Any
) -> str:
    """All that a run shows and records."""

    async def run() -> str:
        engine = OpenAIEngine(base_url=server.url, **options)
        writer = TraceWriter(trace)
        try:
            solution = await solve(
                Question.of("2+2?"), strategy or Single(), engine, trace=writer
            )
            shown = f"{solution.error} {solution.reason} {solution.notes} {solution}"
        except (EngineUnavailable, UsageError) as error:
            shown = str(error)
        finally:
            writer.close()
        return f"{shown} {engine!r} {engine.name} {engine.notes} {spec_of(engine)}"

    return f"{asyncio.run(run())} {trace.read_text()}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("padding", "status"), [(0, 400), (280, 503)])
def test_a_key_that_comes_back_in_an_error_is_in_no_message_and_no_trace(
    tmp_path: Path, form: str, padding: int, status: int
) -> None:
    fault = Fault("status", status, "x" * padding + " your key is " + FORMS[form])
    with FakeServer(faults=[fault] * 9) as server:
        shown = solved(server, tmp_path / "trace.jsonl", api_key=KEY, patience=0)
    assert str(status) in shown
    assert not found(shown)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("field", ["error", "content", "reasoning", "malformed"])
def test_a_key_that_comes_back_in_a_reply_is_in_no_message_and_no_trace(
    tmp_path: Path, field: str, whole: bool
) -> None:
    part = "message" if whole else "delta"
    choice = {
        "index": 0,
        part: {field: f"my key is {KEY}, the answer is 4"},
        "finish_reason": "stop",
    }
    reply = json.dumps({"error": KEY} if field == "error" else {"choices": [choice]})
    if field == "malformed":
        reply = f"{{{KEY}"
    body = reply if whole else f"data: {reply}\n\ndata: [DONE]\n\n"
    strategy = (
        Single()
        if whole
        else SelfConsistency(
            n=1, stop=None, params=Single().params.__class__(max_tokens=2000)
        )
    )
    with FakeServer(
        vllm=False, owner="x", faults=[Fault("send", body=body)] * 3
    ) as server:
        shown = solved(server, tmp_path / "trace.jsonl", strategy, api_key=KEY)
    assert "***" in shown
    assert not found(shown)


def test_a_key_among_the_names_of_models_is_not_shown_and_the_model_is_still_asked_for(
    tmp_path: Path,
) -> None:
    with FakeServer(models=(f"model-{KEY}",)) as server:
        assert not found(solved(server, tmp_path / "trace.jsonl", api_key=KEY))
        assert {body["model"] for body in server.sent("/v1/completions")} == {
            f"model-{KEY}"
        }
    with (
        FakeServer(models=(f"a-{KEY}", f"b-{KEY}")) as server,
        pytest.raises(UsageError) as caught,
    ):
        asyncio.run(OpenAIEngine(base_url=server.url, api_key=KEY).start())
    assert not found(str(caught.value))
    with (
        FakeServer(models=(f"a-{KEY}",)) as server,
        pytest.raises(UsageError) as caught,
    ):
        asyncio.run(
            OpenAIEngine(base_url=server.url, api_key=KEY, model_id="a").start()
        )
    assert not found(str(caught.value))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("htp://me:word@host/v1", "htp://***@host/v1"),
        ("http://me:w://rd?@host:x/v1", "http://***@host:x/v1"),
        ("http://host/v1?key=word", "http://host/v1?***"),
    ],
)
def test_an_address_that_is_none_is_shown_without_what_is_secret(
    address: str, shown: str
) -> None:
    with pytest.raises(UsageError) as caught:
        OpenAIEngine(base_url=address)
    assert f"base_url={shown!r} is not an HTTP address without a password" in str(
        caught.value
    )
    assert shown_address(address) == shown


def test_short_placeholders_hide_nothing_in_an_answer() -> None:
    secrets = Secrets.of("x", "EMPTY", "a-long-secret")
    assert secrets.hide("x EMPTY a-long-secret", shortest=8) == "x EMPTY ***"
    assert secrets.hide("x EMPTY a-long-secret") == "x *** ***"
    assert Secrets.of("").hide("any 50% & \\u0041") == "any 50% & \\u0041"
