"""A model's folder in the cache: built once, and built again when it is not complete."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import reasoner
from reasoner.errors import EngineUnavailable
from reasoner.models.cache import MANIFEST, built_folder, cache_home, source_of
from tests.waiting import PATIENCE

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 512}


@dataclass
class Builder:
    """Builds the folder `path` with small files, and counts how often."""

    path: Path
    times: int = 0
    notices: list[str] = field(default_factory=list)

    def fill(self, folder: Path) -> None:
        self.times += 1
        for name, content in FILES.items():
            (folder / name).write_bytes(content)

    def build(
        self,
        fill: Callable[[Path], None] | None = None,
        source: str = "abc",
        megabytes: int = 1,
    ) -> Path:
        fill, said = fill or self.fill, self.notices.append
        return built_folder(
            self.path,
            source=source,
            megabytes=megabytes,
            fill=fill,
            notify=said,
            what="the model",
        )

    def visible(self) -> list[str]:
        return [
            file.name
            for file in self.path.parent.iterdir()
            if not file.name.endswith(".lock")
        ]

    def complete(self) -> bool:
        return all(
            (self.path / name).read_bytes() == content
            for name, content in FILES.items()
        )


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "models" / "tiny")


def test_it_is_built_once(builder: Builder) -> None:
    before = os.umask(0o022)
    try:
        assert builder.build() == builder.build() == builder.path
    finally:
        os.umask(before)
    assert (builder.times, builder.notices) == (
        1,
        [f"building the model, once (1 MB in {builder.path.parent})"],
    )
    assert builder.complete()
    assert builder.visible() == ["tiny"]
    assert source_of(builder.path) == "abc"
    assert builder.path.stat().st_mode & 0o777 == 0o755


def test_a_folder_without_a_manifest_or_of_other_weights_is_built_again(
    builder: Builder,
) -> None:
    (builder.build() / MANIFEST).unlink()
    builder.build()
    assert builder.notices[1:] == [
        "the folder of the model is incomplete or of another version: building it again"
    ]
    assert builder.complete()
    assert source_of(builder.build(source="def")) == "def"
    assert builder.times == 3
    assert source_of(builder.path.parent) is None
    os.truncate(builder.path / MANIFEST, 5)
    with pytest.raises(
        EngineUnavailable, match="delete the folder, and it is built again"
    ):
        builder.build(source="def")


def test_a_run_killed_half_way_leaves_nothing_behind_for_long(builder: Builder) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from reasoner.models.cache import built_folder\n"
        "def fill(folder):\n"
        "    (folder / 'config.json').write_bytes(b'{')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "built_folder(Path(sys.argv[1]), source='abc', megabytes=1, fill=fill, notify=print, what='it')"
    )
    root = Path(reasoner.__file__).parents[1]
    killed = subprocess.run(
        [sys.executable, "-c", program, str(builder.path)],
        cwd=root,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(builder.visible()) == 1
    assert not builder.path.exists()
    builder.build()
    assert builder.visible() == ["tiny"]
    assert builder.complete()


def test_two_at_once_build_it_once(builder: Builder) -> None:
    building, waiting = threading.Event(), threading.Event()
    first = Builder(builder.path)

    def slow(folder: Path) -> None:
        building.set()
        assert waiting.wait(PATIENCE)
        first.fill(folder)

    def notify(line: str) -> None:
        builder.notices.append(line)
        waiting.set()

    thread = threading.Thread(target=first.build, args=(slow,))
    thread.start()
    assert building.wait(PATIENCE)
    built_folder(
        builder.path,
        source="abc",
        megabytes=1,
        fill=builder.fill,
        notify=notify,
        what="the model",
    )
    thread.join()
    assert (first.times, builder.times) == (1, 0)
    assert builder.notices == ["another process is building the model: waiting for it"]


def test_a_cache_that_cannot_be_written_is_named_with_what_to_do(
    builder: Builder, tmp_path: Path
) -> None:
    with pytest.raises(
        EngineUnavailable,
        match=r"No space left on device; it needs 1000000000 MB.*REASONER_CACHE",
    ):
        builder.build(megabytes=10**9)
    assert (builder.times, builder.visible()) == (0, [])
    (tmp_path / "file").touch()
    with pytest.raises(
        EngineUnavailable, match=r"cannot build .*: Not a directory; .*REASONER_CACHE"
    ):
        Builder(tmp_path / "file" / "models" / "tiny").build()


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("REASONER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_home() == tmp_path / ".cache" / "reasoner"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home() == tmp_path / "xdg" / "reasoner"
    monkeypatch.setenv("REASONER_CACHE", "~/own")
    assert cache_home() == tmp_path / "own"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REASONER_CACHE", "own")
    assert cache_home() == tmp_path / "own"
    monkeypatch.setenv("REASONER_CACHE", "~nobody-of-that-name/own")
    with pytest.raises(EngineUnavailable, match="set REASONER_CACHE"):
        cache_home()
