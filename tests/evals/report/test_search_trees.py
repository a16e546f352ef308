"""The traces of the failures: found among those of other questions, kept apart where they may not be shown."""

from pathlib import Path

import pytest

from reasoner.trace.events import TraceWriter
from reasoner_evals.report.html import page as module
from reasoner_evals.report.html.page import tree_markups
from reasoner_evals.runs.folder import RunFolder
from tests.evals.report.contents import a_failure
from tests.trace.tree.growing import Trace, beam


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


def test_each_failure_gets_its_own_search_tree_and_no_other(tmp_path: Path) -> None:
    written(tmp_path, question("q7", "<b>seven</b>"), question("q71", "seventy-one"), question('q"8', "eight"))
    failures = [a_failure(run=tmp_path, question_id=name) for name in ("q7", 'q"8', "absent")]
    seven, eight, absent = tree_markups(failures)
    assert seven.markup is not None
    assert "&lt;b&gt;seven&lt;/b&gt;" in seven.markup
    assert "seventy-one" not in seven.markup
    assert eight.markup is not None
    assert "eight" in eight.markup
    assert (absent.markup, absent.why) == (None, "The run's folder has no trace of it.")


def test_what_may_not_be_shown_is_not_read(tmp_path: Path) -> None:
    written(tmp_path, question("q7", "secret"))
    [hidden] = tree_markups([a_failure(run=tmp_path, question_id="q7", shareable=False)])
    assert (hidden.markup, hidden.why) == (None, "")


def test_a_broken_line_of_another_question_hides_nothing_and_one_of_its_own_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, question("q7", "seven"))
    whole = file.read_text()
    file.write_text('{"question_id":"other"}\n' + whole)
    case = a_failure(run=tmp_path, question_id="q7")
    assert tree_markups([case])[0].markup is not None
    file.write_text('{"question_id":"q7"}\n' + whole)
    [broken] = tree_markups([case])
    assert broken.markup is None
    assert broken.why.startswith(f"Its trace cannot be shown: {file}:1 is not a trace event")


def test_without_a_trace_the_case_says_so(tmp_path: Path) -> None:
    [missing] = tree_markups([a_failure(run=tmp_path)])
    assert missing.why == "The run's folder has no trace of it."


def test_a_page_takes_only_so_much_and_names_where_the_rest_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = beam()
    large.id, events = "q7", large.events
    large.events = [event.model_copy(update={"question_id": "q7"}) for event in events]
    file = written(tmp_path, large)
    monkeypatch.setattr(module, "MAX_CHARACTERS", 100)
    [cut] = tree_markups([a_failure(run=tmp_path, question_id="q7")])
    assert (cut.markup, str(file) in cut.why) == (None, True)
