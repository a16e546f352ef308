"""Every reader of a question or a reply takes time in proportion to its length, whatever is repeated in it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner import Question
from reasoner.answers.asking import copied, extraction_prompt
from reasoner.answers.choices import ChoiceSpace, choice_in
from reasoner.answers.code import CodeSpace, functions_in
from reasoner.answers.grading import stated
from reasoner.answers.kinds import KINDS, AnswerKind, space_for
from reasoner.answers.maths import MathSpace
from reasoner.answers.programs import output_block, printed_answer
from reasoner.answers.references import ReferenceKinds
from reasoner.answers.tool_calls import read_calls
from reasoner.engines.vllm.parts import harmony_calls
from reasoner.models.families import profile_for_parser
from reasoner.models.thinking import PartSplitter
from reasoner.testing.support import completion
from reasoner_evals.tasks.bbh import BracketSpace
from reasoner_strategies._prompts import verdict
from reasoner_strategies.universal import named
from reasoner_verifiers.equations import calculations
from reasoner_verifiers.shown_tests import (
    AskedFunction,
    asked_function,
    shown_tests,
    written_tests,
)

LENGTH = 200_000
"""Characters of a text. Linear reading of it takes 10 to 100 ms of processor time, quadratic reading a minute."""
SECONDS = 5.0
"""Processor time of one reader for one text; it does not depend on what else the machine does."""
CHUNK = 16
"""Characters of a streamed text that arrive at once."""


def splitter(parser: str) -> PartSplitter:
    profile = profile_for_parser(parser)
    assert profile
    return PartSplitter(profile, opened=False)


def split_as_it_arrives(text: str) -> None:
    arriving = splitter("qwen3")
    for at in range(0, len(text), CHUNK):
        arriving.add(text[at : at + CHUNK])


def read_shown(text: str) -> object:
    return shown_tests(text, asked_function(text, functions_in(text)))


BEGUN = "def f(x):\n    return x\n"
"""A question that begins the function it asks for."""
READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    **{
        kind: ("", space_for(kind, "?").read)
        for kind in KINDS
        if kind not in ("choice", "json")
    },
    "json": ("```json\n", space_for("json", "?").read),
    "choice": ("", ChoiceSpace(("a cat", "a dog", "12")).read),
    "numbered": ("", ChoiceSpace(("iron", "12", "tin"), "numbers").read),
    "asked code": ("```python\n", CodeSpace(("f",)).read),
    "brackets": ("", BracketSpace().read),
    "called": ("<tool_call><function=a>", read_calls),
    "gpt-oss": ("", harmony_calls),
    "printed": ("", lambda text: printed_answer(space_for("json", "?"), text)),
    "output": ("", lambda text: output_block(text, "")),
    "options": ("", choice_in),
    "question": ("", AnswerKind.parse("auto").space),
    "functions": ("", functions_in),
    "shown tests": (BEGUN, read_shown),
    "shown programs": ("From stdin.\n", lambda text: shown_tests(text, None)),
    "written tests": ("", lambda text: written_tests(text, AskedFunction("f"))),
    "equations": ("", lambda text: [*calculations(text)]),
    "reference": ("", lambda text: ReferenceKinds().add(text, text)),
    "solution": ("", lambda text: stated(MathSpace(), text)),
    "quoted": ("", lambda text: extraction_prompt(Question.of("?"), text)),
    "copied": ("", lambda text: copied(space_for("text", "?"), text)),
    "verdict": ("", lambda text: verdict(completion(text), "Verdict", ("A", "B"))),
    "chosen reply": ("", lambda text: named(completion(text), 8)),
    "parts": ("", lambda text: splitter("openai_gptoss").add(text, last=True)),
    "arriving parts": ("", split_as_it_arrives),
}
"""What reads a text, after what opens the form in which it reads longest."""

UNITS = [
    " ",
    "\n",
    "a",
    "1",
    ".",
    "a. ",
    "\\",
    "$",
    "{",
    "(",
    "<",
    "\u3002",
    "\u6211",
    "\u0660",
    "\ud800",
    "**",
    "```",
    "```\n",
    "```json\n",
    "~~~\n",
    "- ",
    "- 1\n",
    "\\boxed{",
    "\\boxed{1}",
    "\\boxed{1}, ",
    "\\boxed{1}\\quad\\text{and}\\quad",
    "\\text{",
    "\\frac",
    "\\begin{pmatrix}",
    "x\\in(",
    "x<1 or ",
    "5 word ",
    "#### ",
    "<answer>",
    '{"answer": ',
    '"answer": "',
    "'answer': '",
    "answer is ",
    "The answer is 1. ",
    "Answer:\n",
    "\u7b54\u6848\u662f",
    "respuesta es ",
    "\n\nQuestion: a",
    "(a) ",
    "A) ",
    "1) a ",
    "1,",
    "1/2 ",
    "x = ",
    "=1",
    "or ",
    "<think>",
    "</think>",
    "<|channel|>",
    "<|channel|>final<|message|>",
    "<|start|>",
    " to=functions.a",
    "[THINK]",
    "Here is my thought process:",
    "<tool_call>",
    "</tool_call>",
    "<function=a>",
    "<function=",
    "</function> ",
    "<parameter=x>",
    "<parameter=",
    "</parameter>",
    '{"a":',
    "[",
    "def f():\n",
    "f(",
    "# ",
    "f(1) == ",
    ">>> a = 1\n>>> f(a)\n1\n",
    "assert (\n",
    "Input: 1\n",
    "sample input\n",
    "for x = 1 ",
    "1+1=",
    "[1,",
]
OPENERS = ["", "$", '"answer": "', "<tool_call>", "answer is $", "x "]


@contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """Fails what takes more; regular expressions and Python look for signals while they run."""

    def late(*_: object) -> None:
        pytest.fail(f"not done after {seconds} s of processor time")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def repeated(unit: str) -> str:
    return unit * (LENGTH // len(unit))


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_repeated_text_is_read_in_linear_time(reader: str) -> None:
    opening, read = READERS[reader]
    for unit in UNITS:
        with processor_time(SECONDS):
            read(opening + repeated(unit))


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=10)
@given(
    st.sampled_from(OPENERS),
    st.lists(
        st.sampled_from(UNITS) | st.text(min_size=1, max_size=4), min_size=1, max_size=3
    ),
)
def test_any_text_is_read_in_linear_time(
    reader: str, opener: str, units: list[str]
) -> None:
    opening, read = READERS[reader]
    with processor_time(SECONDS):
        read(opening + opener + repeated("".join(units)))
