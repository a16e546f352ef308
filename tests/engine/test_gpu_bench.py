"""`bench/gpu.py` without a GPU: its phases run on a tiny model."""

import asyncio
import importlib
import io
import json
from argparse import Namespace
from pathlib import Path

import pytest

from reasoner.engines.vllm.build import installed_build

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.py"

pytestmark = pytest.mark.skipif(
    (build := installed_build()) is None or not build.cpu, reason="this is the run without a GPU"
)


def test_phases_run_without_a_gpu(embedded_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    options = {
        "phases": (3, 6),
        "minutes": 20,
        "tokenizer": embedded_model,
        "shape": None,
        "draw": None,
        "window": None,
    }
    output = io.StringIO()
    # In this process, where vLLM is imported once.
    assert asyncio.run(importlib.import_module("gpu").main(Namespace(**options), output)) == 0
    found = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line.get("error") for line in found] == [None] * 2
    assert all(line["card"] and line["shape"] == "tiny" and line["seconds"] > 0 for line in found)
    cached, cancelled = (line["figures"] for line in found)
    assert cached["share"] == 1.0
    assert cancelled["generated"] == cancelled["counted_by_vllm"]
