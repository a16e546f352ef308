"""What `reasoner solve` reads: the question, and the document that it is about."""

import io
import sys
from pathlib import Path
from typing import IO

from reasoner.errors import UsageError
from reasoner.system.files import open_regular

MAX_LENGTH = 10_000_000
"""Bytes of a question or a file; more would not fit the context window of any model."""


def question_text(argument: str) -> str:
    """The question of the argument, or of standard input for `-`."""
    if argument == "-":
        return _decoded(sys.stdin.buffer, "the question on standard input")
    return _decoded(
        io.BytesIO(argument.encode("utf-8", "surrogatepass")), "the question"
    )


def file_text(option: str, path: Path) -> str:
    """The text of the file that an option names.

    Raises:
        UsageError: it cannot be read, is too long, is not text or is empty.
    """
    try:
        with open_regular(path) as file:
            text = _decoded(file, f"{option} {path}")
    except OSError as error:
        raise UsageError(f"cannot read {option} {path}: {error.strerror}") from error
    if not text.strip():
        raise UsageError(f"{option} {path} is empty: omit it or give a file with text")
    return text


def _decoded(file: IO[bytes], name: str) -> str:
    data = file.read(MAX_LENGTH + 1)
    if len(data) > MAX_LENGTH:
        raise UsageError(f"{name} is too long: the limit is {MAX_LENGTH:,} bytes")
    if b"\0" in data:
        raise UsageError(f"{name} is binary: convert it to plain text first")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text: convert it first") from error
