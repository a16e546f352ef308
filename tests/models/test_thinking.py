"""Where thinking ends in a sequence of token ids."""

from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from reasoner.models.families import FAMILIES
from reasoner.models.thinking import (
    PartSplitter,
    Piece,
    ThinkingProfile,
    ThinkingSplit,
    split,
)
from reasoner.types import Completion, Message, Prompt, Usage

START, END = 1, 2
PLAIN = ThinkingProfile(
    "on_request", (START,), (END,), "<think>", "</think>", "</think>"
)
CHANNELS = ThinkingProfile(
    "always", (7, 1), (7, 2, 8), "<analysis>", "<final>", "<final>"
)
WORDS = st.lists(st.integers(10, 20), max_size=6).map(tuple)


@given(WORDS, WORDS)
def test_thinking_is_the_prefix_up_to_its_end_however_it_was_opened(
    thought: tuple[int, ...], final: tuple[int, ...]
) -> None:
    whole = len(thought) + 1
    assert split((*thought, END, *final), PLAIN, opened=True) == ThinkingSplit(
        whole, False
    )
    assert split((*thought, END, *final), PLAIN, opened=False) == ThinkingSplit(
        whole, False
    )
    assert split((START, *thought, END, *final), PLAIN, opened=False) == ThinkingSplit(
        whole + 1, False
    )
    assert split(final, PLAIN, opened=False) == ThinkingSplit(0, False)


@given(WORDS, WORDS)
def test_thinking_that_ended_is_not_opened_again(
    thought: tuple[int, ...], final: tuple[int, ...]
) -> None:
    again = (*thought, END, *final, START, *thought)
    assert split(again, PLAIN, opened=True) == ThinkingSplit(len(thought) + 1, False)


@given(WORDS, WORDS)
def test_a_marker_of_several_tokens_counts_only_when_it_is_whole(
    thought: tuple[int, ...], final: tuple[int, ...]
) -> None:
    assert split((7, 1, *thought, 7, 2), CHANNELS, opened=False).unclosed
    assert split(
        (7, 1, *thought, 7, 2, 8, *final), CHANNELS, opened=True
    ) == ThinkingSplit(len(thought) + 5, False)


@given(WORDS, WORDS, st.integers(0, 12))
def test_a_chain_that_is_cut_anywhere_splits_as_the_whole(
    thought: tuple[int, ...], final: tuple[int, ...], cut: int
) -> None:
    ids = (*thought, END, *final)
    first = split(ids[:cut], PLAIN, opened=True)
    second = split(ids[cut:], PLAIN, opened=first.unclosed)
    assert first.thinking + second.thinking == len(thought) + 1


def joined(pieces: list[Piece]) -> list[tuple[str, bool | None]]:
    """Pieces of one part as one."""
    return [
        ("".join(piece.text for piece in group), part)
        for part, group in groupby(pieces, lambda each: each.thinking)
    ]


@given(st.data())
def test_the_parts_of_a_text_do_not_depend_on_how_it_arrives(
    data: st.DataObject,
) -> None:
    profile = data.draw(
        st.sampled_from(
            [family.profile for family in FAMILIES if family.profile.end_text]
        )
    )
    marks = [
        profile.start_text,
        profile.end_text,
        profile.closing,
        *profile.calls,
        *profile.voids,
    ]
    marks += [
        "<|start|>assistant",
        "<|channel|>analysis<|message|>",
        "<|end|>",
        "<",
        "7 < 8",
        "hm",
        "\n",
        " to=functions.f",
    ]
    text, opened = (
        "".join(data.draw(st.lists(st.sampled_from(marks), max_size=8))),
        data.draw(st.booleans()),
    )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    whole, cut = (
        PartSplitter(profile, opened=opened),
        PartSplitter(profile, opened=opened),
    )
    pieces: list[Piece] = []
    for begin, end in pairwise([0, *cuts, len(text)]):
        pieces += cut.add(text[begin:end])
    pieces += cut.add("", last=True)
    assert joined(pieces) == joined(whole.add(text, last=True))
    assert (cut.thinking, cut.closed, cut.end) == (
        whole.thinking,
        whole.closed,
        whole.end,
    )


def test_a_prompt_keeps_thinking_apart_from_its_text() -> None:
    prompt = Prompt(messages=(Message("user", "?"),))
    thought = Completion(
        prompt,
        "",
        (10, 11),
        "stop",
        "\n\n",
        Usage(3, 0, 2, 2),
        thinking="hm",
        unclosed=True,
    )
    answer = Completion(
        prompt.then(thought), "4", (END, 12, 0), "stop", usage=Usage(5, 0, 3, 1)
    )
    chain = prompt.then(thought).then(answer)
    assert (chain.thinking, chain.text, chain.token_ids) == (
        "hm\n\n",
        "4",
        (10, 11, END, 12),
    )
    assert thought.truncated
    assert not answer.truncated
    assert answer.final_token_ids == (12, 0)


def test_a_thinking_level_is_another_prompt_and_is_set_once() -> None:
    prompt = Prompt(messages=(Message("user", "?"),))
    low = prompt.at_level("low")
    assert low.digest != prompt.digest
    assert low.head_digest != prompt.head_digest
    assert low.at_level("high") == low
    assert prompt.at_level(None) == prompt
