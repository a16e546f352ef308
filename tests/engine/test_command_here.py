"""The command in this process, where vLLM is imported already."""

import sys
from pathlib import Path

import pytest

from reasoner.cli import main
from reasoner.engines.vllm import VllmEngine


def test_a_document_longer_than_the_window_says_by_how_much(
    engine: VllmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.txt").write_text("word " * 9000)
    monkeypatch.chdir(tmp_path)
    # It would end this process at once, as vLLM is imported.
    monkeypatch.setattr("reasoner.cli._leave", sys.exit)
    with pytest.raises(SystemExit) as left:
        main(["solve", "What is 3 + 4?", "--context", "long.txt", "--model", engine.model_id])
    out, err = capfd.readouterr()
    assert (left.value.code, out) == (2, "")
    assert "context window is 8,192: shorten it by at least" in err
    assert "Traceback" not in err
