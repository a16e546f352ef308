"""Fixtures of the command's tests."""

import io
import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from reasoner import registry
from reasoner.cli import main
from tests.cli.command import Ended, Run


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    for name in (
        "OPENAI_API_KEY",
        "REASONER_BASE_URL",
        "REASONER_ENGINE",
        "REASONER_MODEL",
        "FORCE_COLOR",
        "PYTHONIOENCODING",
        "PYTHONUNBUFFERED",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """The command in this process. A command that was interrupted ignores further interrupts: later tests do not."""
    interrupted = signal.getsignal(signal.SIGINT)
    # It would end this process at once where another test imported vLLM.
    monkeypatch.setattr("reasoner.cli._leave", sys.exit)

    def run(*arguments: str, stdin: BinaryIO | bytes = b"") -> Ended:
        file = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        assert isinstance(left.value.code, int)
        return Ended(left.value.code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGINT, interrupted)
    # The next process would not know the classes of files that this one was given.
    if registry._IN_FILES:
        registry._IN_FILES.clear()
        registry.entries.cache_clear()
        registry._name_at.cache_clear()
