"""`reasoner serve` over real vLLM: a client that leaves."""

from collections.abc import Iterator

import openai
import pytest

from reasoner.engines.vllm.cores import InProcessCore
from reasoner.engines.vllm.engine import VllmEngine
from tests.serving.running import Server, serving
from tests.waiting import until


@pytest.fixture
def server(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server over the engine that all tests share, so it is not closed."""

    async def stays(_: VllmEngine) -> None:
        pass

    monkeypatch.setattr(VllmEngine, "close", stays)
    with serving(engine) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=server.base_url, api_key="none", max_retries=0
    ) as asking:
        yield asking


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("name", ["", "@vote8"])
def test_a_client_that_leaves_takes_its_sequences_out_of_the_engine(
    engine: VllmEngine, server: Server, client: openai.OpenAI, name: str
) -> None:
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=f"{model}{name}",
        messages=asked("Write a long story."),
        max_tokens=400,
        stream=True,
    )
    next(iter(stream))
    stream.close()
    core = engine._core
    assert isinstance(core, InProcessCore)
    server.run(until(lambda: server.service.turns.running == 0 and not core._flights))
    spent = server.service.ledger
    assert spent.reserved.tokens == 0
    assert spent.settled.generated_tokens + spent.settled.cancelled_tokens < 400 * (
        8 if name else 1
    )
