"""The embedded model: converted for real, and the ways in which that fails."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import reasoner
from reasoner.errors import EngineUnavailable
from reasoner.models.embedded import embedded_path
from tests.models.conftest import share_weights
from tests.waiting import PATIENCE

ROOT = Path(reasoner.__file__).parents[1]


def fake_torch(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Let every child process that imports torch run `source` instead."""
    (folder / "torch.py").write_text(source, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def contents(cache: Path) -> list[str]:
    return [
        file.name
        for file in (cache / "models").iterdir()
        if not file.name.endswith(".lock")
    ]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    share_weights(tmp_path / "cache")
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_converted_once(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONER_CACHE", str(converted.parents[1]))
    weights = converted / "model.safetensors"
    before = weights.stat()
    notices: list[str] = []
    assert embedded_path(notices.append) == converted
    after = weights.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert notices == []
    assert contents(converted.parents[1]) == [converted.name]


def test_it_has_16_bits_and_splits_digits_off_before_white_space(
    converted: Path,
) -> None:
    config = json.loads((converted / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "bfloat16"
    assert not [key for key in config if "quant" in key]
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(converted / "tokenizer.json"))
    assert tokenizer.encode("\n\n12").ids == [1116, 33, 34]
    assert tokenizer.encode("<|im_start|>user\n").ids == [1, 4093, 198]


def test_asking_for_it_imports_no_torch(converted: Path) -> None:
    program = (
        "import sys; from reasoner.models.embedded import embedded_path; embedded_path(print); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    environment = {**os.environ, "REASONER_CACHE": str(converted.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.usefixtures("cache")
def test_without_a_package_that_converts_it_nothing_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    notices: list[str] = []
    with pytest.raises(
        EngineUnavailable,
        match=r"without gguf: run `.*pip install 'reasoner-kit\[.*or pass --model",
    ):
        embedded_path(notices.append)
    assert [line for line in notices if "fetching" in line] == []


@pytest.mark.usefixtures("converted")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "raise RuntimeError('first\\nsecond ' + 100_000 * 'x')",
            "RuntimeError: first second xxx",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "killed (signal 9)",
        ),
        ("import os; os._exit(7)", "exit status 7"),
    ],
)
def test_the_child_fails(
    source: str, said: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch(tmp_path, monkeypatch, source)
    with pytest.raises(EngineUnavailable) as caught:
        embedded_path(lambda line: None)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert len(message) < 450
    assert contents(cache) == []


@pytest.mark.usefixtures("converted")
def test_an_interrupt_ends_the_child_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "started")
    fake_torch(
        tmp_path,
        monkeypatch,
        f"import signal; open({str(tmp_path / 'started')!r}, 'w').write('.'); signal.pause()",
    )
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from reasoner.models.embedded import embedded_path; embedded_path(print)",
        ],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    started = os.open(tmp_path / "started", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([started], [], [], PATIENCE)[0], (
            "the conversion never started"
        )
        assert len(contents(cache)) == 1
        parent.send_signal(signal.SIGINT)
        _, complaint = parent.communicate(timeout=PATIENCE)
    finally:
        os.close(started)
        parent.kill()
        parent.wait()
    assert complaint.rstrip().endswith("KeyboardInterrupt")
    assert contents(cache) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(parent.pid, 0)
