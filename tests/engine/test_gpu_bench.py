"""`bench/gpu.py` without a GPU: every phase runs on a tiny model, and a phase that fails stops no other one."""

import asyncio
import importlib
import io
import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from reasoner.engines.vllm.build import installed_build

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.py"

pytestmark = pytest.mark.skipif(
    (build := installed_build()) is None or not build.cpu, reason="this is the run without a GPU"
)


Gpu = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def gpu(embedded_model: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """The script in this process, where vLLM is imported once for all tests; with other `phases` if some are given."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script = importlib.import_module("gpu")

    def run(*numbers: int, minutes: float = 20, phases: Sequence[object] = ()) -> tuple[int, list[dict[str, Any]]]:
        options = {"phases": numbers, "minutes": minutes, "tokenizer": embedded_model}
        output = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            if phases:
                patch.setattr(script, "PHASES", phases)
            code = asyncio.run(script.main(Namespace(shape=None, draw=None, window=None, **options), output))
        return code, [json.loads(line) for line in output.getvalue().splitlines()]

    return run


def test_phases_run_without_a_gpu(gpu: Gpu) -> None:
    code, found = gpu(3, 6)
    assert [line.get("error") for line in found] == [None] * 2
    assert code == 0
    assert all(line["card"] and line["shape"] == "tiny" and line["seconds"] > 0 for line in found)
    cached, cancelled = (line["figures"] for line in found)
    assert cached["share"] == 1.0
    assert cancelled["generated"] == cancelled["counted_by_vllm"]


def test_a_phase_that_fails_has_its_error_in_one_line_and_the_next_one_runs(gpu: Gpu) -> None:
    """With phases that start no engine."""

    async def fails(rig: Any, size: Any) -> dict[str, Any]:
        raise ValueError("the root of it\nand what follows")

    async def works(rig: Any, size: Any) -> dict[str, Any]:
        return {"share": 1.0}

    phases = ((1, fails), (3, works), (6, fails))
    code, found = gpu(1, 3, phases=phases)
    assert [(line["phase"], line.get("error"), line.get("figures")) for line in found] == [
        (1, "ValueError: the root of it", None),
        (3, None, {"share": 1.0}),
    ]
    assert code == 1
    code, found = gpu(1, minutes=0, phases=phases)
    assert (code, found[0]["skipped"]) == (0, {"fails": "no time is left: raise --minutes or name fewer phases"})
