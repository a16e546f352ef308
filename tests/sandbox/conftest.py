"""Each test has places of its own, and shows at its end that it left neither a process nor a file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.attacking import alive


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sandboxes' scratch directories are made; the sandbox's user may pass through."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made).resolve()
        place.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        yield place
        assert not alive(place)
        assert not list(place.glob("reasoner-sandbox-*"))


@pytest.fixture
def outside(place: Path) -> Iterator[Path]:
    """A directory in which anybody may do anything, with a file that anybody may read and write."""
    outside = place / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    secret = outside / "secret"
    secret.write_text("secret")
    secret.chmod(0o666)
    yield outside
    assert secret.read_text() == "secret"
    assert secret.stat().st_mode & 0o777 == 0o666
    assert [found.name for found in outside.iterdir() if not found.is_socket()] == [
        "secret"
    ]


@pytest.fixture
def away(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory for attacks that are tried unconfined."""
    away = place / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    return away
