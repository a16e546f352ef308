"""Files that a command reads and writes: no device, pipe or link is ever replaced, and nothing is read without end."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from reasoner.system.files import (
    check_replaceable,
    parse_json,
    read_object,
    read_whole,
    replacing,
)
from tests.helpers import largest_file


def write(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


@pytest.fixture(params=["pipe", "link to a pipe", "socket", "folder"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Something that is not a file."""
    path = tmp_path / "place"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        os.mkfifo(path)
    if request.param == "link to a pipe":
        link = tmp_path / "link"
        link.symlink_to(path)
        return link
    return path


def test_what_is_not_a_file_is_neither_replaced_nor_read(no_file: Path) -> None:
    before = sorted((one.name, one.lstat().st_ino) for one in no_file.parent.iterdir())
    for use in (check_replaceable, lambda path: write(path, b"new"), read_whole):
        with pytest.raises(
            OSError, match=r"not a regular file|Is a directory|No such device"
        ):
            use(no_file)
    assert (
        sorted((one.name, one.lstat().st_ino) for one in no_file.parent.iterdir())
        == before
    )


def test_a_file_is_replaced_through_a_link_and_keeps_its_permissions(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(Path("elsewhere") / "file")
    write(link, b"new")
    assert link.is_symlink()
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"new", 0o640)
    assert [one.name for one in target.parent.iterdir()] == ["file"]


def test_a_new_file_has_the_permissions_of_any_other_also_behind_a_link(
    tmp_path: Path,
) -> None:
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link", b"new")
    (tmp_path / "plain").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
) -> None:
    write(tmp_path / "file", b"old")
    with largest_file(100), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "file", b"new" * 100)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [
        ("file", b"old")
    ]


@pytest.mark.parametrize("place", ["missing/file", "dangling", "loop"])
def test_a_path_without_a_folder_is_refused_before_the_work(
    place: str, tmp_path: Path
) -> None:
    (tmp_path / "dangling").symlink_to("missing/file")
    (tmp_path / "loop").symlink_to("loop")
    use: Callable[[Path], None]
    for use in (check_replaceable, lambda path: write(path, b"new")):
        with pytest.raises(OSError, match=r"No such file|Too many levels"):
            use(tmp_path / place)


def test_a_file_beyond_the_limit_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "file", b"12345")
    assert read_whole(tmp_path / "file", limit=5) == b"12345"
    with pytest.raises(OSError, match="it is too large: at most 4 bytes are read"):
        read_whole(tmp_path / "file", limit=4)


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[-Infinity]", "[" * 10**5, '{"a":' * 10**5, "1" * 5000, b"\xff"],
)
def test_what_is_not_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_a_file_without_a_json_object_says_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "list", b"[1]")
    with pytest.raises(ValueError, match="it holds a list, not an object"):
        read_object(tmp_path / "list")
