"""Answers that are whole replies: free text, among which strategies choose, and JSON values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Question, build, solve_sync
from reasoner.answers.kinds import space_for
from reasoner.answers.whole import JsonSpace
from reasoner.engine import SampleRequest
from reasoner.registry import entries
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge
from reasoner.types import Message

FREE = space_for("free", "")
ASKED = "  Write a poem.\n"


@given(st.text(st.characters()) | st.just("\ud800") | st.just("<think>"))
def test_all_of_a_text_is_the_answer(text: str) -> None:
    answer = FREE.read(text)
    assert (answer is None) == (not text.strip())
    if answer:
        assert answer.text == text.strip()
        assert len(answer.key) == 32
        assert FREE.same(answer, answer)


def test_the_prompt_is_as_it_was_asked() -> None:
    question = Question.of(
        ASKED,
        space="free",
        system="S",
        shots=[("a", "b")],
        history=[Message("user", "c")],
    )
    assert [message.content for message in question.prompt.messages] == [
        "S",
        "a",
        "b",
        "c",
        ASKED,
    ]
    assert question.text == ASKED


def poem(request: SampleRequest) -> str:
    """Each sample another poem; comparisons and choices name the second that is shown; a review finds nothing."""
    asked = request.prompt.messages[-1].content
    if "Review the answer" in asked:
        return (
            "Verdict: wrong"
            if request.prompt.messages[1].content == "poem 0"
            else "Verdict: correct"
        )
    if "mending" in asked:
        return "a mended poem"
    if "Better:" in asked:
        return (
            "Better: A" if "poem 2" in asked.partition("Answer B")[0] else "Better: B"
        )
    if "Best:" in asked or "consistent response is" in asked:
        shown = asked.split("poem ")[1:]
        number = 1 + [text[0] for text in shown].index("2")
        return f"Best: {number}\nThe most consistent response is Response {number}"
    return f"poem {request.index}"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("single", "poem 0"),
        ("universal:n=4", "poem 2"),
        ("gen_select:n=4", "poem 2"),
        ("tournament:n=4", "poem 2"),
        ("tournament:n=4,pairing=all", "poem 2"),
        ("best_of_n:n=4", "poem 3"),
        ("refine:critic=self,rounds=2", "a mended poem"),
        ("refine:rounds=1", "poem 0"),
    ],
)
def test_a_strategy_of_free_form_chooses_a_whole_reply(spec: str, text: str) -> None:
    strategy = build("strategy", spec)
    judge = Judge(lambda candidate: 0.9 if candidate.text in (text, "poem 3") else 0.1)
    question = Question.of(ASKED, space="free")
    solution = solve_sync(
        question,
        strategy,
        ScriptedEngine(poem),
        verifier=judge if strategy.uses_verifier else None,
    )
    assert strategy.free_form
    assert solution.text == text
    assert solution.answer
    assert solution.answer.text == text
    assert solution.vote_state.leader == solution.answer


def test_strategies_that_count_equal_answers_do_not_claim_free_form() -> None:
    built = {name: build("strategy", name) for name in entries("strategy")}
    free = {
        name
        for name, strategy in built.items()
        if getattr(strategy, "free_form", False)
    }
    assert free == {
        "single",
        "best_of_n",
        "escalate",
        "refine",
        "universal",
        "gen_select",
        "tournament",
    }
    for spec in ("best_of_n:selector=weighted", "best_of_n:of=self_consistency"):
        assert not build("strategy", spec).free_form
    assert build("strategy", "best_of_n:of=refine(critic=self)").free_form


# JSON values

JSON = JsonSpace()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def backwards(value: Any) -> Any:
    """The same value with all names in the other order."""
    if isinstance(value, dict):
        return {name: backwards(item) for name, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_layout_and_order_do_not_count(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    plain = JSON.read(json.dumps(value))
    other = JSON.read(
        f"\n{json.dumps(backwards(value), indent=indent, ensure_ascii=ascii_only)}  "
    )
    assert plain is not None
    assert other is not None
    assert JSON.same(plain, other)


@given(VALUES, VALUES)
def test_two_answers_are_the_same_if_and_only_if_the_values_are(
    first: Any, second: Any
) -> None:
    def kinds(value: Any) -> Any:
        """The value with booleans apart from numbers, which Python holds to be equal."""
        if isinstance(value, dict):
            return {name: kinds(item) for name, item in value.items()}
        if isinstance(value, list):
            return [kinds(item) for item in value]
        return ("bool", value) if isinstance(value, bool) else value

    a, b = JSON.read(json.dumps(first)), JSON.read(json.dumps(second))
    assert a is not None
    assert b is not None
    assert JSON.same(a, b) == (kinds(first) == kinds(second))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('Here it is:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ("```\n[1]\n```\nor rather\n```json\n[2]\n```", [2]),
        ('1. So:\n   ```JSON\r\n   {"a": 1}\r\n   ```', {"a": 1}),
        ('```json\n{"a": 1}', None),
        ('```json\n{"a": \n```\n', None),
        ("[" * 100_000, None),
        ("NaN", None),
        ("9" * 5000, None),
    ],
)
def test_a_reply_is_read_as_a_whole_or_by_its_last_fenced_block(
    text: str, value: Any
) -> None:
    answer = JSON.read(text)
    assert (answer and json.loads(answer.text)) == value
