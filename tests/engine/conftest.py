"""One real vLLM engine for all tests that can share it: starting one costs half a minute."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reasoner.engines.vllm import VllmEngine
from reasoner_verifiers import Orm, Prm
from tests.engine.rewarding import beside
from tests.engine.serving import SERVER_OPTIONS, Launched, replica
from tests.engine.thinking_model import thinking_model


@pytest.fixture(scope="session")
def engine(embedded_model: Path) -> Iterator[VllmEngine]:
    """The embedded model in this process, in 32 bits, where greedy decoding does not depend on the batch."""
    started = VllmEngine(
        model_id=str(embedded_model), max_model_len=2048, kv_gib=1.0, dtype="float32"
    )
    asyncio.run(started.start())
    yield started
    asyncio.run(started.close())


@pytest.fixture(scope="session")
def orm(engine: VllmEngine) -> Iterator[Orm]:
    """The head that comes along, served beside the engine."""
    started = Orm(dtype="float32")
    asyncio.run(started.start(engine))
    yield started
    asyncio.run(started.close())


@pytest.fixture(scope="session")
def prm(engine: VllmEngine, orm: Orm) -> Prm:
    """The steps of a candidate, rated by the same running head."""
    return beside(orm)


@pytest.fixture(scope="session")
def first_server(
    embedded_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launched]:
    """A vLLM server with the embedded model, alone and as one of a fleet; it may not be ready yet."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with replica(
        embedded_model, log, name="embedded", options=SERVER_OPTIONS
    ) as started:
        yield started


@pytest.fixture(scope="session")
def thinking_folder(
    embedded_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a model that thinks."""
    return thinking_model(tmp_path_factory.mktemp("models") / "thinker", embedded_model)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A small tokenizer with the markers of thinking and an end of sequence, as vLLM loads it. No engine runs."""
    from reasoner.engines.vllm.build import installed_build, prepare_environment
    from tests.engine.test_families import THINK, small_tokenizer

    build = installed_build()
    assert build is not None
    prepare_environment(build)
    return small_tokenizer(("<eos>", *THINK), None)
