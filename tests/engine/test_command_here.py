"""The command in this process, where vLLM is imported already."""

from pathlib import Path

import pytest

from reasoner.engines.vllm import VllmEngine
from tests.cli.command import Run
from tests.cli.conftest import _plain_environment, run

__all__ = ["_plain_environment", "run"]


def test_a_document_longer_than_the_window_says_by_how_much(
    engine: VllmEngine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "long.txt").write_text("word " * 9000)
    monkeypatch.chdir(tmp_path)
    ended = run("solve", "What is 3 + 4?", "--context", "long.txt", "--model", engine.model_id)
    assert (ended.code, ended.out) == (2, "")
    assert "context window is 8,192: shorten it by at least" in ended.err
    assert "Traceback" not in ended.err
