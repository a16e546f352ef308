"""The page: whole or absent, bounded, well-formed, and it executes nothing that a model wrote."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest

from reasoner import solve_sync
from reasoner.system.printing import visible
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question, says
from reasoner.trace.events import Event
from reasoner.trace.page import MAX_CHARACTERS, MAX_NODES, fragment, page
from reasoner.trace.view import QuestionView, search_trees
from reasoner_strategies import SelfConsistency
from tests.trace.tree.growing import Trace, beam, huge

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>'\"{{ 7*7 }}{% raw %}&amp;\x1b[31m\u202eevil\u2066\0"


@dataclass
class Parsed(HTMLParser):
    """A page's elements, in order; each has to be closed where it was opened."""

    markup: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    open: list[str] = field(default_factory=list)
    deepest: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.deepest = max(self.deepest, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def classes(self, tag: str) -> list[str]:
        return [str(attrs.get("class", "")) for name, attrs in self.tags if name == tag]


def written(*search_trees: QuestionView) -> str:
    return "\n".join(page(search_trees, source="t.jsonl"))


def hostile() -> QuestionView:
    trace = Trace(id=HOSTILE, text=HOSTILE).begin()
    step = trace.draw("head", HOSTILE, value=0.5)
    trace.rate("head", 0, None, error=HOSTILE)
    trace.draw(trace.put(step, HOSTILE), HOSTILE, stop=None, answer=HOSTILE)
    trace.head("judging", HOSTILE)
    return trace.propose(HOSTILE).end(HOSTILE).tree


def test_a_page_shows_the_tree_with_scores_states_costs_and_the_path() -> None:
    parsed = Parsed(written(beam().tree))
    shown = [name for name in parsed.classes("li") if name]
    assert shown == ["plain", "plain", "plain", "on-path", "on-path", "faint"]
    assert sum(tag == "details" and "open" in attrs for tag, attrs in parsed.tags) == 4
    for said in (
        "✂ pruned",
        "→ path",
        "→ answer",
        "• continued",
        "0.25",
        "= 7",
        "15 tokens",
        "So it is 7",
    ):
        assert said in parsed.text
    bars = [attrs["style"] for tag, attrs in parsed.tags if tag == "i"]
    assert bars == [
        f"width:{share}%" for share in (50.0, 90.0, 75.0, 50.0, 95.0, 50.0, 90.0, 25.0)
    ]


def test_a_vote_is_shown_by_answer() -> None:
    events: list[Event] = []
    solve_sync(
        number_question(),
        SelfConsistency(n=3),
        ScriptedEngine(says("7", "8", "7")),
        trace=events.append,
    )
    parsed = Parsed(str(fragment(next(search_trees(events)))))
    assert "2 of 3, 67 %" in parsed.text
    assert [name for name in parsed.classes("li") if name == "chosen"] == ["chosen"]


def test_what_a_model_wrote_is_shown_and_never_executed() -> None:
    tree = hostile()
    parsed = Parsed(written(tree))
    assert {tag for tag, _ in parsed.tags} == {
        tag for tag, _ in Parsed(written(beam().tree)).tags
    }
    assert not [
        name for _, attrs in parsed.tags for name in attrs if name.startswith("on")
    ]
    assert "<script>alert(1)</script>" in parsed.text
    assert "{{ 7*7 }}" in parsed.text
    assert "[U+001B][31m[U+202E]evil[U+2066][U+0000]" in parsed.text
    assert not set("\x1b\u202e\u2066\0") & set(parsed.markup)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("👩\u200d👧", "👩\u200d👧"),
        ("a\r\u2028\ue000\ud800", "a[U+000D][U+2028][U+E000][U+D800]"),
    ],
)
def test_invisible_characters_are_shown_as_code_points(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["wide", "deep", "both"])
def test_a_page_of_ten_thousand_nodes_is_bounded_and_says_what_is_left_out(
    shape: str,
) -> None:
    tree = huge(shape).tree
    parsed = Parsed(str(fragment(tree)))
    nodes = sum(name in ("plain", "faint", "on-path") for name in parsed.classes("li"))
    assert nodes <= MAX_NODES
    assert len(parsed.markup) < 2_000_000
    assert parsed.deepest < 400
    [left_out] = re.findall(r"([\d,]+) of [\d,]+ sequences are not shown", parsed.text)
    assert nodes + int(left_out.replace(",", "")) == len(tree.nodes)


def test_long_texts_share_the_page_and_say_how_much_is_cut() -> None:
    trace = Trace().begin()
    for _ in range(300):
        trace.draw("head", "x" * 100_000, stop=None)
    parsed = Parsed(str(fragment(trace.end(None).tree)))
    assert 0.9 * MAX_CHARACTERS < parsed.text.count("x") < 1.2 * MAX_CHARACTERS
    assert parsed.text.count("more characters, not shown.") == 300
