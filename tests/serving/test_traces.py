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


async def solved(spec: str = "self_consistency:n=4") -> list[Event]:
    events: list[Event] = []
    strategy, verifier = build("strategy", spec), build("verifier", "certainty")
    await solve(
        Question.of("What is 3 + 4?", id="q"),
        strategy,
        SimulatedEngine(),
        verifier=verifier,
        trace=events.append,
    )
    return events


def kept(traces: RecentTraces, events: list[Event], prompt: int = 10) -> KeptTrace:
    name = traces.keep("anna", events, prompt=prompt)
    assert name
    trace = traces.get(name)
    assert trace
    return trace


@running
async def test_a_kept_trace_is_what_a_file_would_be_small_or_large(
    tmp_path: Path,
) -> None:
    traces, file = RecentTraces(), tmp_path / "trace.jsonl"
    events = await solved()
    for prompt in (10, MAX_LATER):
        trace = kept(traces, events, prompt)
        assert (trace.size == len(trace.lines())) == (prompt == MAX_LATER)
        file.write_bytes(trace.lines())
        assert list(read_trace(file)) == events
    assert traces.size == sum(each.size for each in traces._traces.values())


def test_the_oldest_are_dropped_for_newer_ones() -> None:
    traces = RecentTraces(number=2)
    made = [kept(traces, [noted("a")]) for _ in range(4)]
    assert [traces.get(trace.id) for trace in made] == [None, None, *made[2:]]
    assert traces.size == sum(trace.size for trace in made[2:])


@given(st.lists(st.integers(0, 3000), max_size=60))
def test_number_and_bytes_stay_within_their_limits(prompts: list[int]) -> None:
    traces = RecentTraces(number=3, size=1 << 16)
    for prompt in prompts:
        name = traces.keep("anna", [noted("a")], prompt=prompt)
        trace = traces.get(name or "")
        assert (trace is not None) == ((1 << 11) + 8 * prompt <= (1 << 16) // MAX_SHARE)
        assert len(traces._traces) <= 3
        sizes = [each.size for each in traces._traces.values()]
        assert traces.size == sum(sizes) <= 1 << 16


def test_nothing_follows_an_event_that_cannot_be_written() -> None:
    trace = kept(RecentTraces(), [noted(text) for text in ("a", "\ud800", "b")])
    assert trace.lines().count(b"\n") == 1
