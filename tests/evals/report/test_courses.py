"""The traces of the failures: found among those of other questions, kept apart where they may not be shown."""

from pathlib import Path

import pytest

from reasoner.trace import TraceWriter
from reasoner_evals.report import courses
from reasoner_evals.report.courses import traces
from reasoner_evals.runs.folder import RunFolder
from tests.evals.report.contents import a_case
from tests.tree.growing import Trace, beam


def written(run: Path, *found: Trace) -> Path:
    """A run whose arm has the events of these questions, one after the other in turns."""
    file = RunFolder(run).arm("arm").trace
    file.parent.mkdir(parents=True)
    writer = TraceWriter(file)
    longest = max(len(one.events) for one in found)
    for place in range(longest):
        for one in found:
            if place < len(one.events):
                writer(one.events[place])
    writer.close()
    return file


def question(name: str, text: str) -> Trace:
    trace = Trace(id=name, text=text).begin()
    trace.draw("head", f"{text} is what I think")
    return trace


def test_each_failure_gets_its_own_course_and_no_other(tmp_path: Path) -> None:
    written(tmp_path, question("q7", "<b>seven</b>"), question("q71", "seventy-one"), question('q"8', "eight"))
    cases = [a_case(run=str(tmp_path), question_id=name) for name in ("q7", 'q"8', "absent")]
    seven, eight, absent = traces(cases)
    assert seven.course is not None
    assert "&lt;b&gt;seven&lt;/b&gt;" in seven.course
    assert "seventy-one" not in seven.course
    assert eight.course is not None
    assert "eight" in eight.course
    assert (absent.course, absent.why) == (None, "The run's folder holds no trace of it.")


def test_what_may_not_be_shown_is_not_read(tmp_path: Path) -> None:
    written(tmp_path, question("q7", "secret"))
    [hidden] = traces([a_case(run=str(tmp_path), question_id="q7", shareable=False)])
    assert (hidden.course, hidden.why) == (None, "")


def test_a_broken_line_of_another_question_hides_nothing_and_one_of_its_own_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, question("q7", "seven"))
    whole = file.read_text()
    file.write_text('{"question_id":"other"}\n' + whole)
    case = a_case(run=str(tmp_path), question_id="q7")
    assert traces([case])[0].course is not None
    file.write_text('{"question_id":"q7"}\n' + whole)
    [broken] = traces([case])
    assert broken.course is None
    assert broken.why.startswith(f"Its trace cannot be shown: {file}:1 is not a trace event")


def test_without_a_trace_the_case_says_so(tmp_path: Path) -> None:
    [missing] = traces([a_case(run=str(tmp_path))])
    assert missing.why == "The run's folder holds no trace of it."


def test_a_page_takes_only_so_much_and_names_where_the_rest_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = beam()
    large.id, events = "q7", large.events
    large.events = [event.model_copy(update={"question_id": "q7"}) for event in events]
    file = written(tmp_path, large)
    monkeypatch.setattr(courses, "MOST_CHARACTERS", 100)
    [cut] = traces([a_case(run=str(tmp_path), question_id="q7")])
    assert (cut.course, str(file) in cut.why) == (None, True)
