"""The logs of inspect_ai, `.eval` or `.json`, as recorded replies with the verdicts of the log's first scorer."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

from reasoner.answers.maths import MathSpace
from reasoner.errors import UsageError
from reasoner.system.files import open_regular, parse_json
from reasoner.system.tables import MAX_ROW

SUFFIXES = (".eval", ".json")
_ZSTANDARD = 93
_SHORT = 100
"""Characters of an answer that is read as it is."""
_UNREADABLE = (
    AttributeError, BadZipFile, LookupError, NotImplementedError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


def replies(path: Path) -> Iterator[dict[str, Any]]:
    """Each scored sample as a recorded reply, with all tokens that the log's model generated for it.

    One that the scorer calls right has the reference answer, another one the answer that the scorer read.

    Raises:
        UsageError: it is no log.
    """
    with open_regular(path) as file:
        try:
            archive = ZipFile(file) if path.suffix == ".eval" else None
            log = _json(archive, file, "header.json") if archive else parse_json(file.read(), finite=False)
            names = [name for name in archive.namelist() if name.startswith("samples/")] if archive else []
            for sample in (_json(archive, file, name) for name in names) if archive else log["samples"]:
                if sample.get("scores"):
                    yield _reply(sample, log["eval"]["model"])
        except _UNREADABLE as error:
            raise UsageError(f"{path} is not a log of inspect_ai: {str(error)[:200]}") from None


def _json(archive: ZipFile, file: BinaryIO, name: str) -> Any:
    """A file of an archive; Python 3.11 does not unpack the compression of today's logs."""
    info = archive.getinfo(name)
    if info.file_size > MAX_ROW:
        raise ValueError(f"{name} has more than {MAX_ROW >> 20} MiB")
    if info.compress_type != _ZSTANDARD:
        return parse_json(archive.read(info), finite=False)
    import pyarrow as pa

    file.seek(info.header_offset + 26)
    file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
    packed = pa.BufferReader(file.read(info.compress_size))
    return parse_json(pa.CompressedInputStream(packed, "zstd").read(info.file_size), finite=False)


def _reply(sample: dict[str, Any], model: str) -> dict[str, Any]:
    target, score, read = sample["target"], next(iter(sample["scores"].values())), MathSpace().read
    if not isinstance(score["value"], str | int | float):
        raise TypeError("its first scorer gives more than one value")
    [stated, *_] = [target] if isinstance(target, str) else target
    gold, text = read(rf"\boxed{{{stated}}}"), score.get("answer") or ""
    answer = read(text) or (read(rf"\boxed{{{text}}}") if len(text) <= _SHORT else None)
    stated = stated if gold else "right"
    if score["value"] in ("C", 1):
        given = stated
    elif answer and not (gold and gold.key == answer.key):
        given = answer.text
    else:
        given = "wrong" if text else None
    tokens = sample["model_usage"].get(model, {}).get("output_tokens", 1)
    return {"question_id": sample["id"], "gold": stated, "answer": given, "tokens": max(1, tokens)}
