"""Budget forcing, as a pure plan and on an engine that knows an end of thinking."""

from dataclasses import replace

import pytest

from reasoner.models.info import ModelInfo
from reasoner.models.thinking import ThinkingProfile
from reasoner.strategy import DescribeModel, Operation, Prefill, Sample
from reasoner.testing.scripted import MODEL
from reasoner.testing.support import number_question
from reasoner.types import Answer, Completion, FinishReason, SamplingParams, Usage
from reasoner_strategies.budget_forcing import (
    BudgetForcing,
    closes,
    still_open,
    until_closed,
)
from tests.strategies.driving import Course, follow

QUESTION = number_question()
EOS, END = -1, 99
PROFILE = ThinkingProfile(
    "always", (98,), (END,), "<think>", "</think>", "\n</think>\n"
)
THINKS = replace(MODEL, thinking=PROFILE)
OPENED = "\n\nThe final answer is"


class Forced(Course):
    """A course of one chain."""

    __slots__ = ()

    @property
    def rooms(self) -> list[int]:
        return [op.params.limit for op in self.samples]

    @property
    def text(self) -> str:
        """The text that the answer continues."""
        return self.samples[-1].prompts[0].text


def course(
    strategy: BudgetForcing,
    *replies: object,
    model: ModelInfo = THINKS,
    encodes: bool = True,
) -> Forced:
    """A plan that gets these completions in turn, from a model for which each forced text is one token, 50."""
    following = iter(replies)

    def reply(op: Operation) -> object:
        match op:
            case Prefill():
                closing = (
                    PROFILE.closing if op.thinking == "close" and model.thinking else ""
                )
                text = closing + op.text
                return op.prompt.extended(text, (50,) if text and encodes else ())
            case DescribeModel():
                return model
            case Sample():
                following_reply = next(following)
                if isinstance(following_reply, Completion):
                    return (replace(following_reply, prompt=op.prompts[0]),)
                return following_reply
        raise AssertionError(op)

    return follow(strategy.plan(QUESTION), reply, Forced())


def thinks(
    tokens: int,
    *,
    by: int | None = END,
    text: str = "hm",
    finish: FinishReason = "stop",
) -> Completion:
    """Thinking of this many tokens, closed by a token: END, another stop token, or the end of the sequence."""
    closed = () if finish != "stop" else (EOS if by is None else by,)
    ids = (1,) * tokens + closed
    return Completion(
        QUESTION.prompt,
        text,
        ids,
        finish,
        by if closed else None,
        Usage(9, 0, len(ids)),
    )


def key(answer: Answer | None) -> str | None:
    return answer.key if answer else None


FORCED = BudgetForcing(waits=1)
PINNED = BudgetForcing(max_thinking=100, waits=2)


def test_the_published_course() -> None:
    """Cap 100, 40 tokens and END each time, one token of Wait, two waits: rooms 100, 59, 18 and then it is forced."""
    pinned = course(
        PINNED,
        thinks(40),
        thinks(40),
        thinks(18, finish="length"),
        thinks(3, by=None, text=" 7"),
    )
    assert pinned.rooms == [100, 59, 18, 256]
    assert pinned.notes == ["thinking cut after 100 tokens, 2 forced to continue"]
    assert pinned.forced == ["", "Wait", "Wait", OPENED]
    assert pinned.text == f"hmWaithmWaithm\n</think>\n{OPENED}"
    assert pinned.samples[-1].prompts[0].token_ids == (
        *(1,) * 40,
        50,
        *(1,) * 40,
        50,
        *(1,) * 18,
        50,
    )
    assert key(pinned.answer) == "7"


@pytest.mark.parametrize("ids", [(1, 2, 3), ()])
def test_a_marker_that_tokens_share_with_other_text_is_taken_out_by_its_text(
    ids: tuple[int, ...],
) -> None:
    profile = replace(PROFILE, end=())
    params = until_closed(SamplingParams(), profile)
    assert (params.stop, params.stop_in_thinking, params.stop_token_ids) == (
        ("</think>",),
        True,
        (),
    )
    out = Completion(
        QUESTION.prompt, "", ids, "stop", "</think>", Usage(9, 0, 3, 3), thinking="hm"
    )
    assert closes(out, profile)
    plan = still_open(QUESTION.prompt, out, profile)
    if ids:
        assert next(plan) == Prefill(QUESTION.prompt, "hm")
    else:
        with pytest.raises(StopIteration) as end:
            next(plan)
        assert end.value.value == QUESTION.prompt.extended("", (), thinking="hm")


def test_what_the_model_closes_itself_continues_from_the_marker_alone() -> None:
    closed = course(
        FORCED, thinks(40), thinks(40), thinks(3, by=None, text="So the answer is 7")
    )
    assert (closed.rooms, closed.text) == ([4096, 4055, 256], "hmWaithm</think>")
    assert closed.samples[0].params.stop_token_ids == (END,)
    assert closed.samples[-1].params.stop_token_ids == ()
    assert closed.notes == ["thinking ended after 81 tokens, 1 forced to continue"]
    assert key(closed.answer) == "7"


@pytest.mark.parametrize(
    ("model", "text"), [(THINKS, f"hm\n</think>\n{OPENED}"), (MODEL, f"hm{OPENED}")]
)
def test_the_end_of_the_sequence_asks_for_the_answer(
    model: ModelInfo, text: str
) -> None:
    """A model that does not think has no marker."""
    replies = [
        thinks(40, by=None),
        thinks(40, by=None, text="The answer is 8"),
        thinks(1, by=None, text=" 7"),
    ]
    ended = course(FORCED, *replies, model=model)
    assert ended.text == text.replace("hm", "hmWaitThe answer is 8")
    assert [key(op.answer) for op in ended.proposals] == [None, "8", "7"]
    assert [op.vote_state.samples for op in ended.proposals] == [1, 1, 1]
    assert ended.samples[0].params.stop_token_ids == ((END,) if model is THINKS else ())


def test_it_is_made_to_think_up_to_the_minimum() -> None:
    minimum = course(
        BudgetForcing(min_thinking=60, wait="Hmm"),
        *[thinks(20)] * 3,
        thinks(1, by=None, text="is 7"),
    )
    # 20, 21 + 20, 42 + 20 tokens.
    assert (minimum.rooms, minimum.forced[1:3]) == (
        [4096, 4075, 4054, 256],
        ["Hmm", "Hmm"],
    )


def test_no_wait_is_forced_if_no_room_is_left_for_what_follows() -> None:
    full = course(
        BudgetForcing(max_thinking=41, waits=5),
        thinks(40),
        thinks(1, by=None, text="The answer is 7"),
    )
    assert (full.rooms, full.text) == ([41, 256], "hm</think>")
    more = course(
        BudgetForcing(max_thinking=42, waits=5),
        thinks(40),
        thinks(1, finish="length"),
        thinks(1, text=" 7"),
    )
    assert more.rooms == [42, 1, 256]


def test_without_a_tokenizer_forced_words_count_as_nothing_and_it_still_ends() -> None:
    reported = replace(
        thinks(0, by=None, text="hm"), token_ids=(), usage=Usage(9, 0, 40)
    )
    server = BudgetForcing(max_thinking=100, waits=1)
    run = course(
        server,
        reported,
        reported,
        thinks(1, by=None, text=" 7"),
        model=MODEL,
        encodes=False,
    )
    assert (run.rooms, run.text) == ([100, 60, 256], f"hmWaithm{OPENED}")
    silent = replace(reported, text="", usage=Usage(9, 0, 0))
    empty = course(
        BudgetForcing(min_thinking=50),
        silent,
        thinks(1, text=" 7"),
        model=MODEL,
        encodes=False,
    )
    assert empty.rooms == [4096, 256]


def test_an_answer_that_is_cut_or_holds_none_leaves_what_the_thinking_held() -> None:
    for last in (
        thinks(256, finish="length", text="is 7"),
        thinks(2, by=None, text="I do not know"),
    ):
        run = course(
            BudgetForcing(),
            thinks(40, by=None, text="The answer is 8"),
            last,
            model=MODEL,
        )
        assert (key(run.answer), key(run.proposals[-1].answer)) == ("8", "8")


@pytest.mark.parametrize(
    ("maximum", "rooms"), [(1000, [744, 256]), (300, [150, 150]), (3, [2, 1]), (1, [1])]
)
def test_max_tokens_caps_the_whole_chain(maximum: int, rooms: list[int]) -> None:
    replies = [thinks(1, by=None), thinks(1, by=None, text=" 7")][-len(rooms) :]
    run = course(
        BudgetForcing(params=SamplingParams(max_tokens=maximum)), *replies, model=MODEL
    )
    assert run.rooms == rooms
