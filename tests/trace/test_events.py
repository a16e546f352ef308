"""The trace file: every event comes back, an incomplete last line is skipped, any other error names its line."""

import gzip
import math
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from reasoner import Cost
from reasoner.errors import BudgetExhausted, DamagedLine, TraceError, UsageError
from reasoner.testing.scripted import MODEL
from reasoner.testing.support import write_trace
from reasoner.trace import events as kinds
from reasoner.trace.events import (
    Began,
    Dropped,
    Ended,
    Event,
    Prefilled,
    Prompted,
    Proposed,
    Sampled,
    Scored,
    Thought,
    TraceWriter,
    read_trace,
)
from reasoner.types import Blocks, Logprobs, Message, Usage, Vote, VoteState
from tests.helpers import answer, without_checksums

COST = Cost(1, 2, 3, 4, 5, 6, 7, None, 0.125)
VOTES = VoteState(
    (Vote(answer("7"), 1.5, 2), Vote(answer("8"), 1.5, 1)), samples=4, tied=True
)
AT: dict[str, Any] = {"question_id": "q", "t": 0.4}
WORK: dict[str, Any] = {**AT, "op": 1, "prompt": "p", "cost": COST}
BEGAN = Began(
    **AT,
    text='How many\u2028"?\n',
    answer_space="number",
    strategy="single",
    verifier="",
    engine="scripted",
    model=MODEL,
    budget="each tokens=9",
    seed=2**63 - 1,
    notes=("one", "two"),
)
DRAWN: dict[str, Any] = {
    **WORK,
    "index": 3,
    "seed": 2**63 - 1,
    "token_ids": (1, -1),
    "usage": Usage(1, 2, 3, 1),
}
SAMPLED = Sampled(
    **DRAWN,
    child="c",
    text="\u00e9\u4e2d\U0001f600\0\r\n",
    finish_reason="stop",
    stop=7,
    logprobs=Logprobs((-0.5, -math.inf), ((0.0, -math.inf), (-1.25, -2.5))),
)
prompted, prefilled = (
    partial(Prompted, **AT, tokens=3, exact=True),
    partial(Prefilled, **AT, prompt="p", text="Wait"),
)
scored, ended = partial(Scored, **WORK, index=3), partial(Ended, **AT, cost=COST)
LATE = BudgetExhausted("seconds", needed=0, free=-math.inf, limit=math.inf)
EVENTS: list[Event] = [
    BEGAN,
    Thought(
        **DRAWN,
        text="",
        finish_reason="length",
        stop=None,
        logprobs=None,
        thinking="hm",
        unclosed=True,
    ),
    prompted(prompt="p", messages=(Message("user", "hi"),), raw=""),
    prompted(prompt="r", messages=(), raw="raw"),
    SAMPLED,
    SAMPLED.model_copy(
        update={"stop": "7", "logprobs": None, "finish_reason": "length"}
    ),
    SAMPLED.model_copy(update={"stop": None, "finish_reason": "abort"}),
    Dropped(**WORK, index=4, why="cancelled", usage=Usage(1, 0, 1)),
    Dropped(**WORK, index=5, why="lost", usage=None),
    Dropped(
        **WORK, index=6, why="deadline", usage=None, refusal=kinds.Refusal.of(LATE)
    ),
    scored(value=0.5, steps=(0.25, 1.0), error=""),
    scored(value=None, steps=(), error="broken"),
    kinds.AnswerExtracted(**WORK, index=3, text="7.\n", answer=answer("7"), error=""),
    kinds.Executed(**WORK, code="print(7)", output="7\n", failure="", error=""),
    prefilled(child="c", token_ids=(3, 4)),
    prefilled(child="d", token_ids=None),
    kinds.Delivered(**AT, op=3),
    kinds.Cancelled(**AT, op=4),
    kinds.Noted(**AT, text="step 3: ESS 2.74 of 8"),
    kinds.BlocksFound(
        **AT, answers=("a", "b"), blocks=(Blocks(("x", "y"), ("z",)), None)
    ),
    kinds.EquivalenceChecked(
        **AT, pairs=(("a", "b"), ("a", "c"), ("b", "c")), same=(True, False, None)
    ),
    kinds.Refused(**AT, op=3, unit="tokens", needed=9.5, free=0.0, limit=math.inf),
    Proposed(**AT, answer=answer("7"), vote_state=VOTES, cost=COST),
    Proposed(**AT, answer=None, vote_state=VoteState(), cost=Cost()),
    ended(answer=answer("7"), ended_by="rule", reason="enough", notes=("late",)),
    ended(answer=None, ended_by="error", reason="broken", notes=()),
]


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_every_event_is_on_disk_before_the_next_and_comes_back_as_it_was(
    tmp_path: Path, name: str
) -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))
    (tmp_path / name).touch()
    writer = TraceWriter(tmp_path / name)
    for count, event in enumerate(EVENTS, start=1):
        writer(event)
        assert len(list(read_trace(writer.path))) == count
    writer.close()
    assert list(read_trace(writer.path)) == EVENTS
    # The first bytes decide, not the name: a file may have been renamed.
    assert list(read_trace(writer.path.rename(tmp_path / "renamed"))) == EVENTS


def test_a_gzip_file_is_read_up_to_its_last_flush_and_damage_is_an_error(
    tmp_path: Path,
) -> None:
    path = write_trace(tmp_path / "t.jsonl.gz", EVENTS)
    whole = path.read_bytes()
    assert (
        gzip.decompress(whole) == write_trace(tmp_path / "t.jsonl", EVENTS).read_bytes()
    )
    for end in range(len(whole) - 40, len(whole)):
        path.write_bytes(whole[:end])
        found = list(read_trace(path))
        assert found == EVENTS[: len(found)]
        assert len(found) >= len(EVENTS) - 2
    damaged = bytearray(whole)
    # Eight bytes, as a flipped bit of the padding between two flushes changes nothing.
    damaged[len(whole) // 2 : len(whole) // 2 + 8] = bytes(8)
    path.write_bytes(damaged)
    with pytest.raises(TraceError):
        list(read_trace(path))


def test_one_flipped_bit_anywhere_is_found(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl", [BEGAN, SAMPLED, BEGAN])
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for offset in range(start, start + 400, 7):
        content = bytearray(whole)
        # Digits become other digits: the line stays valid JSON.
        content[offset] ^= 0x01
        path.write_bytes(content)
        events = read_trace(path, advice="record it again")
        assert next(events) == BEGAN
        with pytest.raises(DamagedLine, match=rf"^{path}:[23] .*: record it again$"):
            list(events)


def test_a_line_longer_than_the_bound_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reasoner.journal.lines.MAX_LINE_BYTES", 2000)
    path = write_trace(
        tmp_path / "t.jsonl", [BEGAN, BEGAN.model_copy(update={"text": "a" * 5000})]
    )
    with pytest.raises(
        DamagedLine, match=r":2 is too long: at most 2,000 bytes are read"
    ):
        list(read_trace(path))


def test_an_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl", [BEGAN, SAMPLED])
    whole = path.read_bytes()
    # Near the end, and at every place within the text of several bytes.
    text = whole.index("\u00e9".encode())
    for end in (*range(len(whole) - 12, len(whole)), *range(text, text + 12)):
        path.write_bytes(whole[:end])
        assert (
            list(read_trace(path))
            == [BEGAN, SAMPLED][: 2 if end == len(whole) - 1 else 1]
        )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"rubbish", "is not a line of the trace: invalid JSON"),
        (b'{"v":3,"event":"slept","question_id":"q","t":0}', "slept"),
        (
            b'{"v":3,"event":"delivered","question_id":"q","t":0,"op":1,"mood":1}',
            "mood",
        ),
        (
            b'{"v":2,"event":"delivered","question_id":"q","t":0,"op":1}',
            "another version: this one reads version 3",
        ),
        (
            b'{"v":10,"event":"slept"}',
            "was written by another version: this one reads version 3",
        ),
    ],
)
def test_a_broken_line_is_named_by_file_and_line(
    tmp_path: Path, line: bytes, complaint: str
) -> None:
    path = write_trace(tmp_path / "t.jsonl", [BEGAN, SAMPLED])
    first, second = without_checksums(path).read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, second, b""]))
    events = read_trace(path)
    assert next(events) == BEGAN
    with pytest.raises(TraceError) as caught:
        next(events)
    assert str(caught.value).startswith(f"{path}:2 ")
    assert complaint in str(caught.value)


def test_files_that_cannot_be_read_or_written_say_why(tmp_path: Path) -> None:
    assert list(read_trace(write_trace(tmp_path / "t.jsonl", []))) == []
    for name, why in (("none", "No such file"), (".", "Is a directory")):
        with pytest.raises(TraceError, match=rf"cannot read the trace .*: {why}"):
            list(read_trace(tmp_path / name))
    for name in ("t.jsonl.zst", "t.jsonl.xz", "t.bz2"):
        with pytest.raises(UsageError, match=r"it can be compressed as \.gz only"):
            TraceWriter(tmp_path / name)


def test_text_that_is_not_unicode_cannot_be_traced(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.jsonl")
    with pytest.raises(
        TraceError, match=r"cannot write the trace .*surrogates not allowed"
    ):
        writer(BEGAN.model_copy(update={"text": "\udcff"}))
    writer(BEGAN)
    writer.close()
    assert list(read_trace(writer.path)) == [BEGAN]
