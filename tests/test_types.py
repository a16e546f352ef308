"""Values: what they refuse, and how a prompt grows."""

import subprocess
import sys

import pytest

from reasoner.answers.numbers import NumberSpace
from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.errors import UsageError
from reasoner.testing.support import PROMPT, completion
from reasoner.types import Message, Prompt, Rating, SamplingParams


@pytest.mark.parametrize(
    "arguments", [{}, {"raw": "x", "messages": (Message("user", "x"),)}]
)
def test_a_prompt_is_messages_or_raw_text(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="messages or raw text, and not both"):
        Prompt(**arguments)  # type: ignore[arg-type]


def test_a_prompt_grows_by_what_was_generated_without_its_end() -> None:
    ended = completion("one", token_ids=(1, 2, -1))
    stopped = completion("two", token_ids=(3, 4), stop="\n")
    closed = completion("three", token_ids=(7, 8), stop=8)
    cut = completion("cut", token_ids=(5, 6), finish="length")
    longer = PROMPT.then(ended).then(stopped).then(closed).then(cut)
    # A stop string is cut from a text and kept in its ids, a stop token the other way about: both stay one content.
    assert (longer.token_ids, longer.text) == (
        (1, 2, 3, 4, 7, 5, 6),
        "onetwo\nthreecut",
    )
    assert longer.extended("Wait", (9,)) == PROMPT.extended(
        "onetwo\nthreecutWait", (1, 2, 3, 4, 7, 5, 6, 9)
    )
    assert longer.messages == PROMPT.messages
    assert PROMPT.token_ids == ()


def test_digests_tell_prompts_apart_by_content_alone() -> None:
    grown = PROMPT.then(completion("x", token_ids=(1,), finish="length"))
    prompts = [
        PROMPT,
        Prompt.chat("How many"),
        Prompt.chat("many?", system="How"),
        Prompt(raw="How many?"),
        Prompt((Message("assistant", "How many?"),)),
        Prompt((Message("user", "How"), Message("user", " many?"))),
        grown,
        PROMPT.then(completion("x", token_ids=(2,), finish="length")),
        PROMPT.then(completion("x", token_ids=(), finish="length")),
        Prompt.chat("\ud800"),
    ]
    digests = [prompt.digest for prompt in prompts]
    assert len(set(digests)) == len(prompts)
    assert all(len(digest) == 32 for digest in digests)
    assert Prompt.chat("How many?").digest == PROMPT.digest
    assert (
        Prompt.chat("How many?")
        .then(completion("x", token_ids=(1,), finish="length"))
        .digest
        == grown.digest
    )
    # Where an engine has no tokenizer, a forced word is text alone.
    assert grown.extended("Wait", ()).digest != grown.digest
    assert (
        grown.head_digest == PROMPT.head_digest != Prompt.chat("How many").head_digest
    )


def test_a_digest_is_the_same_in_every_process() -> None:
    script = "from reasoner.types import Prompt; print(Prompt.chat('How many?').digest, end='')"
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert printed == PROMPT.digest


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("stop", ("a", ""), "at least one character"),
        ("logit_bias", (7,), "pairs of a token id and a bias"),
        ("bad_words", "no", "a tuple of strings"),
        ("thinking", True, "a whole number"),
    ],
)
def test_sampling_parameters_out_of_range_are_refused(
    option: str, value: object, allowed: str
) -> None:
    with pytest.raises(UsageError) as caught:
        SamplingParams(**{option: value})  # type: ignore[arg-type]
    assert allowed in str(caught.value)
    assert option in str(caught.value)


def test_a_question_reads_the_whole_chain_and_nothing_that_was_cut() -> None:
    question = Question("q", "How many?", PROMPT, NumberSpace())
    first = completion("The answer", finish="stop", stop=" is ", token_ids=(1,))
    then = completion("7", prompt=PROMPT.then(first))
    assert then.chain == "The answer is 7"
    found = question.read(then)
    assert found is not None
    assert (found.key, found.rule) == ("7", "announced")
    assert question.read(completion("The answer is 7", finish="length")) is None
    assert question.read(completion("The answer is 7", finish="abort")) is None
    assert question.read(completion("no idea")) is None


@pytest.mark.parametrize(
    ("value", "steps", "error"),
    [
        (None, (), ""),
        (0.5, (), "broken"),
        (1.1, (), ""),
        (0.5, (0.5, 2.0), ""),
    ],
)
def test_a_rating_is_a_value_in_0_to_1_or_an_error(
    value: float | None, steps: tuple[float, ...], error: str
) -> None:
    with pytest.raises(ValueError, match="a rating"):
        Rating(value, Cost(), steps, error)
