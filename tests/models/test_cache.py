"""A model's folder in the cache: built once, verified, and built again when damaged."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import reasoner
from reasoner.errors import EngineUnavailable
from reasoner.models import cache
from reasoner.models.cache import CHECKSUMS, CachedModel, cache_home, sha256_of

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 512}


@dataclass
class Builder:
    """Fills a folder with small files and counts how often."""

    times: int = 0
    notices: list[str] = field(default_factory=list)

    def fill(self, folder: Path) -> None:
        self.times += 1
        for name, content in FILES.items():
            (folder / name).write_bytes(content)


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def model(tmp_path: Path, builder: Builder) -> CachedModel:
    return CachedModel(tmp_path / "models" / "tiny", gguf_sha256="abc", megabytes=1, fill=builder.fill)


def visible(model: CachedModel) -> list[str]:
    return [file.name for file in model.path.parent.iterdir() if not file.name.endswith(".lock")]


def complete(model: CachedModel) -> bool:
    return all((model.path / name).read_bytes() == content for name, content in FILES.items())


def test_built_once(model: CachedModel, builder: Builder) -> None:
    assert model.ready(builder.notices.append) == model.path
    assert model.ready(builder.notices.append) == model.path
    assert builder.times == 1
    assert len(builder.notices) == 1
    assert str(model.path.parent) in builder.notices[0]
    assert complete(model)
    assert visible(model) == ["tiny"]


def test_only_what_was_touched_is_read_again(
    model: CachedModel, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.ready(builder.notices.append)
    read: list[str] = []

    def noted(file: Path) -> str:
        read.append(file.name)
        return sha256_of(file)

    monkeypatch.setattr(cache, "sha256_of", noted)
    model.ready(builder.notices.append)
    assert read == []
    os.utime(model.path / "model.safetensors", (0, 0))
    assert model.ready(builder.notices.append) == model.path
    assert read == ["model.safetensors"]
    assert builder.times == 1


def flip_a_byte(folder: Path) -> None:
    content = bytearray(FILES["model.safetensors"])
    content[70_000] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    # A file system's clock may stand still for milliseconds.
    os.utime(folder / "model.safetensors", (0, 0))


def truncate(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1000)


def halve_the_checksums(folder: Path) -> None:
    os.truncate(folder / CHECKSUMS, 50)


def empty_the_checksums(folder: Path) -> None:
    record = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    (folder / CHECKSUMS).write_text(json.dumps({**record, "files": {}}), encoding="utf-8")


def replace_by_a_folder(folder: Path) -> None:
    (folder / CHECKSUMS).unlink()
    (folder / CHECKSUMS).mkdir()


@pytest.mark.parametrize(
    ("spoil", "damage"),
    [
        (flip_a_byte, "model.safetensors: checksum differs"),
        (truncate, "model.safetensors: size differs"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: missing"),
        (lambda folder: (folder / CHECKSUMS).unlink(), "checksums.json: missing"),
        (halve_the_checksums, "checksums.json: not readable"),
        (empty_the_checksums, "checksums.json: not readable"),
        (replace_by_a_folder, "checksums.json: Is a directory"),
    ],
)
def test_damage_is_named_and_repaired(
    spoil: Callable[[Path], object], damage: str, model: CachedModel, builder: Builder
) -> None:
    model.ready(lambda line: None)
    spoil(model.path)
    model.ready(builder.notices.append)
    assert builder.notices == [f"the cached model is damaged ({damage}): building it again"]
    assert builder.times == 2
    assert complete(model)
    model.ready(builder.notices.append)
    assert builder.times == 2


def test_a_folder_made_from_other_weights_is_built_again(model: CachedModel, builder: Builder) -> None:
    model.ready(lambda line: None)
    replace(model, gguf_sha256="def").ready(builder.notices.append)
    assert builder.notices == [
        "the cached model is damaged (checksums.json: built for another model): building it again"
    ]
    assert builder.times == 2


def test_a_run_killed_half_way_leaves_nothing_behind_for_long(model: CachedModel, builder: Builder) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from reasoner.models.cache import CachedModel\n"
        "def fill(folder):\n"
        "    (folder / 'config.json').write_bytes(b'{')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "CachedModel(Path(sys.argv[1]), gguf_sha256='abc', megabytes=1, fill=fill).ready(print)"
    )
    root = Path(reasoner.__file__).parents[1]
    killed = subprocess.run(
        [sys.executable, "-c", program, str(model.path)], cwd=root, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(visible(model)) == 1
    assert not model.path.exists()
    model.ready(builder.notices.append)
    assert visible(model) == ["tiny"]
    assert complete(model)


def test_two_at_once_build_it_once(model: CachedModel, builder: Builder) -> None:
    building, waiting = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        building.set()
        assert waiting.wait(60)
        builder.fill(folder)

    def notify(line: str) -> None:
        builder.notices.append(line)
        waiting.set()

    first = threading.Thread(target=replace(model, fill=slow).ready, args=(lambda line: None,))
    first.start()
    assert building.wait(60)
    assert model.ready(notify) == model.path
    first.join()
    assert builder.times == 1
    assert builder.notices == ["another process is building the embedded model: waiting for it"]
    assert complete(model)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_to_do(number: int, model: CachedModel) -> None:
    def fill(folder: Path) -> None:
        (folder / "config.json").write_bytes(b"{")
        raise OSError(number, os.strerror(number))

    with pytest.raises(EngineUnavailable, match=r"no space left .* needs 1 MB.*REASONER_CACHE") as caught:
        replace(model, fill=fill).ready(lambda line: None)
    assert str(model.path.parent) in str(caught.value)
    assert visible(model) == []


def test_too_little_space_is_known_before_building(model: CachedModel, builder: Builder) -> None:
    with pytest.raises(EngineUnavailable, match="needs 1000000000 MB"):
        replace(model, megabytes=10**9).ready(builder.notices.append)
    assert builder.times == 0


def test_a_cache_that_cannot_be_written(tmp_path: Path, model: CachedModel) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineUnavailable, match=r"cannot build .*: Not a directory; set REASONER_CACHE"):
        replace(model, path=tmp_path / "file" / "models" / "tiny").ready(lambda line: None)


def test_files_are_as_readable_as_the_umask_allows(model: CachedModel, builder: Builder) -> None:
    def private(folder: Path) -> None:
        builder.fill(folder)
        (folder / "model.safetensors").chmod(0o600)

    before = os.umask(0o022)
    try:
        replace(model, fill=private).ready(lambda line: None)
    finally:
        os.umask(before)
    assert model.path.stat().st_mode & 0o777 == 0o755
    assert (model.path / "model.safetensors").stat().st_mode & 0o777 == 0o644


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
