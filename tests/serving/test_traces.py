"""Traces in memory: bounded, readable by their owner alone, and what a trace file would be."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reasoner import Question, build, solve
from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.page import MAX_LATER, MAX_SHARE, KeptTrace, RecentTraces
from reasoner.trace.events import Event, Noted, read_trace
from tests.running import running


def noted(text: str) -> Event:
    return Noted(question_id="q", t=0.0, text=text)


async def solved(trace: KeptTrace, spec: str = "self_consistency:n=4") -> list[Event]:
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        trace(event)

    strategy, verifier = build("strategy", spec), build("verifier", "certainty")
    await solve(
        Question.of("What is 3 + 4?", id="q"),
        strategy,
        SimulatedEngine(),
        verifier=verifier,
        trace=emit,
    )
    return events


@running
async def test_a_kept_trace_is_what_a_file_would_be(tmp_path: Path) -> None:
    trace = RecentTraces().open("anna")
    events = await solved(trace)
    file = tmp_path / "trace.jsonl"
    file.write_bytes(trace.lines())
    assert list(read_trace(file)) == events
    assert trace.whole


@running
async def test_small_events_become_lines_once_they_are_read(tmp_path: Path) -> None:
    traces = RecentTraces()
    small, large, file = (
        traces.open("anna"),
        traces.open("anna"),
        tmp_path / "trace.jsonl",
    )
    events = await solved(traces.open("anna"))
    for trace, prompt in ((small, 10), (large, MAX_LATER)):
        trace.keep(events, prompt=prompt)
        assert (trace.size == sum(map(len, trace._lines))) == (trace is large)
        assert traces.size == sum(each.size for each in traces._traces.values())
        file.write_bytes(trace.lines())
        assert list(read_trace(file)) == events
        assert traces.size == sum(each.size for each in traces._traces.values())
    assert small.size == large.size


def test_the_oldest_are_dropped_for_newer_ones() -> None:
    traces = RecentTraces(number=2)
    kept = [traces.open("anna") for _ in range(4)]
    assert [traces.get(trace.id) for trace in kept] == [None, None, *kept[2:]]
    for trace in kept:
        trace(noted("late"))
    assert [bool(trace.lines()) for trace in kept] == [False, False, True, True]
    assert traces.size == sum(trace.size for trace in kept)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), max_size=60))
def test_number_and_bytes_stay_within_their_limits(
    course: list[tuple[int, int]],
) -> None:
    """Each step writes to one of the traces, opened at its first use."""
    traces, opened = RecentTraces(number=3, size=4000), dict[int, KeptTrace]()
    for name, length in course:
        opened.setdefault(name, traces.open("anna"))(noted("x" * length))
        assert len(traces._traces) <= 3
        assert traces.size == sum(trace.size for trace in opened.values()) <= 4000
        assert all(
            len(trace.lines()) == trace.size <= 4000 // MAX_SHARE
            for trace in opened.values()
        )


@running
async def test_a_trace_that_is_cut_anywhere_still_has_a_page() -> None:
    whole = RecentTraces().open("anna")
    events = await solved(whole, "beam_search:n=4,width=2,max_steps=3")
    for limit in range(0, whole.size, 700):
        cut = RecentTraces(size=limit * MAX_SHARE or 1).open("anna")
        for event in events:
            cut(event)
        assert not cut.whole
        assert whole.lines().startswith(cut.lines())
        assert f"first {cut.size:,} bytes" in cut.page()


def test_nothing_follows_an_event_that_cannot_be_written() -> None:
    trace = RecentTraces().open("anna")
    for text in ("a", "\ud800", "b"):
        trace(noted(text))
    assert trace.lines().count(b"\n") == 1
    assert not trace.whole
