"""What comes from outside is read within bounds."""

from pathlib import Path

import pytest

from reasoner import bounded
from reasoner.bounded import parse_json, read_file, read_object


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, '{"a":' * 10**5, "1" * 5000, b"\xff"])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_what_is_no_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("[1]")
    with pytest.raises(ValueError, match="it holds a list, not an object"):
        read_object(tmp_path / "list")


def test_no_more_than_the_bound_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_BYTES", 2**20)
    (tmp_path / "file").write_bytes(bytes(2**20))
    assert len(read_file(tmp_path / "file")) == 2**20
    with pytest.raises(OSError, match="it is larger than 1 MiB"):
        read_file(Path("/dev/zero"))
