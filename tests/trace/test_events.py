"""The trace file: every event comes back, a torn end is forgiven, anything else is an error that says where."""

import gzip
import math
from pathlib import Path
from typing import get_args

import pytest

from reasoner import Cost, solve_sync
from reasoner.errors import DamagedLine, TraceError, UsageError
from reasoner.strategy import TextLikelihood
from reasoner.trace.events import (
    AnswerExtracted,
    AnswersCompared,
    Began,
    BlocksFound,
    Cancelled,
    Delivered,
    Dropped,
    Ended,
    EquivalenceChecked,
    Event,
    LikelihoodsMeasured,
    Noted,
    Prefilled,
    Prompted,
    Proposed,
    Refused,
    Sampled,
    Scored,
    Thought,
    TraceWriter,
    read_trace,
    tee,
)
from reasoner.trace.record import VERSION
from reasoner.types import Blocks, Logprobs, Message, Usage, Vote, VoteState
from reasoner_strategies import SelfConsistency
from tests.helpers import answer, number_question, says, without_checksums, write_trace
from tests.scripted import MODEL, ScriptedEngine

COST = Cost(1, 2, 3, 4, 5, 6, 7, None, 0.125)
STANDING = VoteState((Vote(answer("7"), 1.5, 2), Vote(answer("8"), 1.5, 1)), samples=4, tied=True)
BEGAN = Began(
    question_id="q",
    t=0.0,
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
SAMPLED = Sampled(
    question_id="q",
    t=0.25,
    op=1,
    prompt="p",
    index=3,
    child="c",
    seed=2**63 - 1,
    text="\u00e9\u4e2d\U0001f600\0\r\n",
    token_ids=(1, -1),
    finish_reason="stop",
    stop=7,
    usage=Usage(1, 2, 3),
    logprobs=Logprobs((-0.5, -math.inf), ((0.0, -math.inf), (-1.25, -2.5))),
    cost=COST,
)
THOUGHT = Thought(
    question_id="q",
    t=0.2,
    op=1,
    prompt="p",
    index=3,
    seed=1,
    text="",
    token_ids=(1, 2),
    finish_reason="length",
    stop=None,
    usage=Usage(1, 0, 2, 2),
    logprobs=None,
    thinking="hm",
    unclosed=True,
    cost=COST,
)
EVENTS: list[Event] = [
    BEGAN,
    THOUGHT,
    Prompted(question_id="q", t=0.1, prompt="p", messages=(Message("user", "hi"),), raw="", tokens=3, exact=True),
    Prompted(question_id="q", t=0.1, prompt="r", messages=(), raw="raw", tokens=3, exact=True),
    SAMPLED,
    SAMPLED.model_copy(update={"stop": "7", "logprobs": None, "finish_reason": "length"}),
    SAMPLED.model_copy(update={"stop": None, "finish_reason": "abort"}),
    Dropped(question_id="q", t=0.3, op=1, prompt="p", index=4, why="cancelled", usage=Usage(1, 0, 1), cost=COST),
    Dropped(question_id="q", t=0.3, op=1, prompt="p", index=5, why="lost", usage=None, cost=COST),
    Scored(question_id="q", t=0.4, op=2, prompt="p", index=3, value=0.5, steps=(0.25, 1.0), error="", cost=COST),
    LikelihoodsMeasured(
        question_id="q",
        t=0.4,
        op=2,
        prompt="p",
        texts=(" A", "\u00e9\n"),
        likelihoods=(TextLikelihood(-0.25, 1), None),
        error="",
        cost=COST,
    ),
    LikelihoodsMeasured(
        question_id="q", t=0.4, op=2, prompt="p", texts=(" A",), likelihoods=(), error="cancelled", cost=COST
    ),
    AnswersCompared(
        question_id="q", t=0.4, op=2, prompt="p", pair=("a", "b"), same=True, yes=(0.75, 1.0), error="", cost=COST
    ),
    AnswersCompared(
        question_id="q", t=0.4, op=2, prompt="p", pair=("a", "c"), same=None, yes=(), error="cancelled", cost=COST
    ),
    AnswerExtracted(
        question_id="q", t=0.4, op=2, prompt="p", index=3, text="7.\n", answer=answer("7"), error="", cost=COST
    ),
    Prefilled(question_id="q", t=0.4, prompt="p", child="c", text="Wait", token_ids=(3, 4)),
    Prefilled(question_id="q", t=0.4, prompt="p", child="d", text="Wait", token_ids=None),
    Delivered(question_id="q", t=0.4, op=3),
    Cancelled(question_id="q", t=0.4, op=4),
    Noted(question_id="q", t=0.4, text="step 3: ESS 2.74 of 8"),
    BlocksFound(question_id="q", t=0.4, answers=("a", "b"), blocks=(Blocks(("x", "y"), ("z",)), None)),
    EquivalenceChecked(question_id="q", t=0.4, pairs=(("a", "b"), ("a", "c"), ("b", "c")), same=(True, False, None)),
    Scored(question_id="q", t=0.4, op=2, prompt="p", index=3, value=None, steps=(), error="broken", cost=COST),
    Refused(question_id="q", t=0.5, op=3, unit="tokens", needed=9.5, free=0.0, limit=math.inf),
    Proposed(question_id="q", t=0.6, answer=answer("7"), vote_state=STANDING, cost=COST),
    Proposed(question_id="q", t=0.6, answer=None, vote_state=VoteState(), cost=Cost()),
    Ended(question_id="q", t=0.7, answer=answer("7"), ended_by="rule", reason="enough", cost=COST, notes=("late",)),
    Ended(question_id="q", t=0.7, answer=None, ended_by="error", reason="broken", cost=COST, notes=()),
]


def test_every_kind_of_event_is_among_the_examples() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


def test_every_event_comes_back_as_it_was(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl", EVENTS)
    assert list(read_trace(path)) == EVENTS
    assert len(path.read_text(encoding="utf-8").split("\n")) == len(EVENTS) + 1


def test_each_event_is_on_disk_before_the_next(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.jsonl")
    for count, event in enumerate(EVENTS, start=1):
        writer(event)
        assert len(list(read_trace(writer.path))) == count
    writer.close()


def test_a_trace_replaces_another_only_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl", EVENTS)
    with pytest.raises(UsageError, match=r"the trace .* exists: name another file, or overwrite it with --overwrite"):
        TraceWriter(path)
    assert list(read_trace(path)) == EVENTS
    writer = TraceWriter(path, overwrite=True)
    writer(BEGAN)
    writer.close()
    assert list(read_trace(path)) == [BEGAN]


def test_an_empty_file_is_written_to_as_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").touch()
    writer = TraceWriter(tmp_path / "t.jsonl")
    writer(BEGAN)
    writer.close()
    assert list(read_trace(writer.path)) == [BEGAN]


def test_a_name_that_ends_in_gz_makes_a_gzip_file_which_reads_like_any_other(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl.gz", EVENTS)
    assert gzip.decompress(path.read_bytes()) == write_trace(tmp_path / "t.jsonl", EVENTS).read_bytes()
    assert list(read_trace(path)) == EVENTS
    # The first bytes decide, not the name: a file may have been renamed.
    assert list(read_trace(path.rename(tmp_path / "renamed.jsonl"))) == EVENTS


def test_what_a_killed_process_flushed_of_a_gzip_file_is_read(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.jsonl.gz")
    for event in EVENTS:
        writer(event)
    assert list(read_trace(writer.path)) == EVENTS
    flushed = writer.path.read_bytes()
    writer.close()
    for end in range(len(flushed) - 40, len(flushed)):
        writer.path.write_bytes(flushed[:end])
        found = list(read_trace(writer.path))
        assert found == EVENTS[: len(found)]
        assert len(found) >= len(EVENTS) - 2


def test_gzip_data_that_are_damaged_are_an_error(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl.gz", EVENTS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(TraceError):
        list(read_trace(path))


@pytest.mark.parametrize("name", ["t.jsonl.zst", "t.jsonl.xz", "t.bz2"])
def test_another_compression_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"it can be compressed as \.gz only"):
        TraceWriter(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


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


def test_a_line_longer_than_the_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasoner.journal.lines.MAX_LINE_BYTES", 2000)
    path = write_trace(tmp_path / "t.jsonl", [BEGAN, BEGAN.model_copy(update={"text": "a" * 5000})])
    with pytest.raises(DamagedLine, match=r":2 is too long: at most 2,000 bytes are read"):
        list(read_trace(path))


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_last_line_is_skipped(tmp_path: Path, cut: int) -> None:
    path = write_trace(tmp_path / "t.jsonl", [BEGAN, SAMPLED])
    whole = path.read_bytes()
    # Near the end, at every place within the text of several bytes, and in the middle.
    text = whole.index("\u00e9".encode())
    for end in (len(whole) - cut, text + cut):
        path.write_bytes(whole[:end])
        assert list(read_trace(path))[:1] == [BEGAN]
        assert len(list(read_trace(path))) == (2 if end == len(whole) - 1 else 1)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "invalid json"),
        (b"rubbish", "invalid json"),
        (b"\xff\xfe", "invalid json"),
        (b"[]", "not a line of the trace"),
        (b'{"v":2,"event":"slept","question_id":"q","t":0}', "slept"),
        (b'{"v":2,"event":"refused","question_id":"q","t":0}', "refused.op: field required"),
    ],
)
def test_a_broken_line_is_named_by_file_and_line(tmp_path: Path, line: bytes, complaint: str) -> None:
    path = write_trace(tmp_path / "t.jsonl", [BEGAN, SAMPLED])
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, second, b""]))
    events = read_trace(path)
    assert next(events) == BEGAN
    with pytest.raises(TraceError) as caught:
        next(events)
    assert str(caught.value).startswith(f"{path}:2 is not a line of the trace: ")
    assert complaint in str(caught.value)


def test_an_extra_field_is_an_error_rather_than_lost(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.jsonl", [BEGAN])
    without_checksums(path).write_text(path.read_text().replace('"seed":', '"mood":1,"seed":'))
    with pytest.raises(TraceError, match="mood"):
        list(read_trace(path))


@pytest.mark.parametrize("version", [0, 1, 10])
def test_another_version_is_refused_as_such(tmp_path: Path, version: int) -> None:
    path = write_trace(tmp_path / "t.jsonl", EVENTS)
    changed = without_checksums(path).read_text(encoding="utf-8").replace('"v":2,', f'"v":{version},')
    path.write_text(changed, encoding="utf-8")
    with pytest.raises(TraceError, match=f":1 was written by another version: .* version {VERSION}$"):
        list(read_trace(path))


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot read the trace .*none: No such file"):
        list(read_trace(tmp_path / "none"))
    with pytest.raises(TraceError, match=r"cannot read the trace .*: Is a directory"):
        list(read_trace(tmp_path))


def test_an_empty_file_holds_no_event(tmp_path: Path) -> None:
    assert list(read_trace(write_trace(tmp_path / "t.jsonl", []))) == []


@pytest.mark.parametrize("place", ["", "missing/t.jsonl"])
def test_a_place_that_cannot_be_written_says_why(tmp_path: Path, place: str) -> None:
    with pytest.raises(TraceError, match="cannot write the trace"):
        TraceWriter(tmp_path / place)


FULL = Path("/dev/full")
full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@full_disk
def test_a_full_disk_is_a_trace_error() -> None:
    writer = TraceWriter(FULL)
    with pytest.raises(TraceError, match=r"cannot write the trace /dev/full: No space left on device"):
        writer(BEGAN)
    with pytest.raises(TraceError, match="No space left"):
        writer.close()


@full_disk
def test_a_disk_that_fills_up_during_a_run_costs_the_trace_and_not_the_answer(tmp_path: Path) -> None:
    writer, full = TraceWriter(tmp_path / "t.jsonl"), TraceWriter(FULL)
    seen: list[Event] = []

    def filling(event: Event) -> None:
        seen.append(event)
        (full if sum(isinstance(one, Proposed) for one in seen) > 2 else writer)(event)

    solution = solve_sync(number_question(), SelfConsistency(n=6), ScriptedEngine(says("7")), trace=filling)
    assert isinstance(solution.error, TraceError)
    assert solution.ended_by == "error"
    assert solution.answer is not None
    assert solution.answer.key == "7"
    assert solution.cost.samples >= 2
    with pytest.raises(TraceError):
        full.close()
    writer.close()
    assert sum(isinstance(event, Proposed) for event in read_trace(writer.path)) == 2


@full_disk
def test_a_disk_that_is_full_at_once_ends_the_run_before_anything_is_spent() -> None:
    writer, engine = TraceWriter(FULL), ScriptedEngine(says("7"))
    solution = solve_sync(number_question(), SelfConsistency(n=6), engine, trace=writer)
    assert isinstance(solution.error, TraceError)
    assert (solution.answer, solution.cost.tokens, engine.usage) == (None, 0, [])
    with pytest.raises(TraceError):
        writer.close()


def test_text_that_is_no_unicode_cannot_be_traced(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.jsonl")
    with pytest.raises(TraceError, match=r"cannot write the trace .*surrogates not allowed"):
        writer(BEGAN.model_copy(update={"text": "\udcff"}))
    writer(BEGAN)
    writer.close()
    assert list(read_trace(writer.path)) == [BEGAN]


def test_a_tee_hands_each_event_to_all_in_order() -> None:
    seen: list[tuple[str, Event]] = []
    tee(lambda event: seen.append(("one", event)), lambda event: seen.append(("two", event)))(BEGAN)
    assert seen == [("one", BEGAN), ("two", BEGAN)]
