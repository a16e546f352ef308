"""The engine over HTTP before the first sequence: its options, its key, and which model it takes."""

import asyncio

import pytest

from reasoner.engines.openai import OpenAIEngine
from reasoner.errors import EngineUnavailable, UnknownName, UsageError
from tests.engines.fake_server import FakeServer, Fault


def test_the_only_model_is_taken_and_asked_about_once() -> None:
    async def run(engine: OpenAIEngine) -> None:
        await engine.start()
        await engine.start()
        assert (engine.model.name, engine.model.context, engine.model.parameters) == (
            "tiny",
            512,
            0,
        )

    with FakeServer() as server:
        engine = OpenAIEngine(base_url=server.url + "/")
        asyncio.run(run(engine))
        assert [seen.path for seen in server.seen] == ["/v1/models", "/tokenize"]
        assert engine.name == f"openai at {server.url}"
        assert not [note for note in engine.notes if "token-exact" in note]
        assert engine.capacity is None


def test_several_models_need_a_choice_and_the_error_names_them() -> None:
    with FakeServer(models=("small", "large")) as server:
        with pytest.raises(
            UsageError,
            match="serves several models: set model_id to one of small, large",
        ):
            asyncio.run(OpenAIEngine(base_url=server.url).start())
        engine = OpenAIEngine(base_url=server.url, model_id="large")
        asyncio.run(engine.start())
        assert engine.model.name == "large"
        assert [body["model"] for body in server.sent("/tokenize")] == ["large"]


def test_aliases_of_a_model_are_no_choice() -> None:
    with FakeServer(
        models=("a/small@b", "a/small@b@vote8", "a/small@b@best8")
    ) as server:
        engine = OpenAIEngine(base_url=server.url)
        asyncio.run(engine.start())
        assert engine.model.name == "a/small@b"
    with (
        FakeServer(models=("small", "small@vote8", "large")) as server,
        pytest.raises(UsageError, match="several"),
    ):
        asyncio.run(OpenAIEngine(base_url=server.url).start())


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with FakeServer(
        models=("small", "large", *(f"other-{n}\x1b[31m" for n in range(40)))
    ) as server:
        with pytest.raises(
            UnknownName, match="named 'smal'; did you mean 'small'"
        ) as caught:
            asyncio.run(OpenAIEngine(base_url=server.url, model_id="smal").start())
        assert len(caught.value.known) == 20
        assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "body", ["<html>welcome</html>", '{"data": 3}', '{"data": [{"id": 7}]}']
)
def test_what_is_no_list_of_models_has_an_error_of_its_own(body: str) -> None:
    said = pytest.raises(
        EngineUnavailable, match="is not a list of models: set base_url"
    )
    with FakeServer(start_fault=Fault("status", 200, body)) as server, said:
        asyncio.run(OpenAIEngine(base_url=server.url).start())


@pytest.mark.parametrize(
    ("option", "variable", "sent"),
    [("k1", "k2", "k1"), ("", " k2\n", "k2"), ("", "", None)],
)
def test_the_key_comes_from_the_option_then_the_environment(
    monkeypatch: pytest.MonkeyPatch, option: str, variable: str, sent: str | None
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", variable)
    with FakeServer() as server:
        engine = OpenAIEngine(base_url=server.url, api_key=option)
        asyncio.run(engine.start())
        assert len(server.seen) == 2
        assert {seen.headers.get("authorization") for seen in server.seen} == {
            sent and f"Bearer {sent}"
        }
        assert "k1" not in repr(engine)
