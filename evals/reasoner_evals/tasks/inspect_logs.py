"""The logs of inspect_ai, `.eval` or `.json`, as recorded replies with the verdicts of the log's first scorer."""

import json
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from zipfile import BadZipFile, ZipFile

from reasoner import Answer
from reasoner.answers.maths import MathSpace
from reasoner.errors import UsageError
from reasoner.system.files import open_regular, parse_json
from reasoner.system.machine import require_extra
from reasoner.system.tables import MAX_ROW

SUFFIXES: Final = (".eval", ".json")


def as_lines(path: Path) -> BinaryIO:
    """A file with a recorded reply for each scored sample, with all tokens that the log's model generated for it.

    One that the scorer calls right has the reference answer, another one the answer that the scorer read. Raises
    UsageError if it is no log.
    """
    lines = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 the caller closes it
    with open_regular(path) as file:
        try:
            if path.suffix == ".eval":
                archive = ZipFile(file)
                samples = (
                    _json(archive, name)
                    for name in archive.namelist()
                    if name.startswith("samples/")
                )
                log = _json(archive, "header.json")
            else:
                log = parse_json(file.read(), finite=False)
                samples = iter(log["samples"])
            replies = (
                _reply(sample, log["eval"]["model"])
                for sample in samples
                if sample.get("scores")
            )
            lines.writelines(f"{json.dumps(reply)}\n".encode() for reply in replies)
        except (
            AttributeError,
            BadZipFile,
            EOFError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
            zlib.error,
        ) as error:
            raise UsageError(
                f"{path} is not a log of inspect_ai: {str(error)[:200] or 'it is cut short'}"
            ) from None
    lines.seek(0)
    return lines


def _json(archive: ZipFile, name: str) -> Any:
    """A file of an archive; Python 3.11 does not unpack the compression of today's logs."""
    info, file = archive.getinfo(name), archive.fp
    if info.file_size > MAX_ROW or file is None:
        raise ValueError(f"{name} has more than {MAX_ROW >> 20} MiB")
    # 93 is Zstandard.
    if info.compress_type != 93:
        return parse_json(archive.read(info), finite=False)
    require_extra("parquet", "a log of inspect_ai that is compressed by Zstandard")
    import pyarrow as pa

    file.seek(info.header_offset + 26)
    file.seek(sum(struct.unpack("<HH", file.read(4).ljust(4))), 1)
    packed = pa.BufferReader(file.read(info.compress_size))
    try:
        content = pa.CompressedInputStream(packed, "zstd").read(info.file_size)
    except OSError as error:
        raise ValueError(str(error)) from None
    if zlib.crc32(content) != info.CRC:
        raise ValueError(f"{name} is damaged")
    return parse_json(content, finite=False)


def _reply(sample: dict[str, Any], model: str) -> dict[str, Any]:
    target, score, space = (
        sample["target"],
        next(iter(sample["scores"].values())),
        MathSpace(),
    )
    if not isinstance(score["value"], str | int | float):
        raise TypeError("its first scorer gives more than one value")

    def boxed(text: str) -> Answer | None:
        return space.read(rf"\boxed{{{text}}}")

    [stated, *_] = [target] if isinstance(target, str) else target
    text, stated = score.get("answer") or "", stated if boxed(stated) else "right"
    given, gold = stated, boxed(stated)
    if score["value"] not in ("C", 1):
        # What their scorer calls wrong may not be right by our grader.
        answers = (
            space.read(text) or boxed(text[:100]),
            boxed("wrong"),
            boxed("not right"),
        )
        distinct = (
            each.text
            for each in answers
            if each and gold and space.same(gold, each) is False
        )
        given = next(distinct) if text else None
    tokens = sample["model_usage"].get(model, {}).get("output_tokens", 1)
    return {
        "question_id": sample["id"],
        "gold": stated,
        "answer": given,
        "tokens": max(1, tokens),
    }
