"""Budget forcing, as a pure plan and on an engine that knows an end of thinking."""

from dataclasses import replace

import pytest

from reasoner import solve_sync
from reasoner.engine import SampleRequest
from reasoner.strategy import DescribeModel, Operation, Prefill, Sample
from reasoner.types import Answer, Completion, FinishReason, SamplingParams, Usage
from reasoner_strategies.budget_forcing import BudgetForcing, EndMarker
from tests.helpers import number_question
from tests.scripted import MODEL, ScriptedEngine
from tests.strategies.driving import Course, follow

QUESTION = number_question()
EOS, END = -1, 99
WORDS: dict[str, tuple[int, ...]] = {"</think>": (END,), "Wait": (50,)}


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


def course(strategy: BudgetForcing, *replies: object, words: dict[str, tuple[int, ...]] = WORDS) -> Forced:
    """A plan that gets these completions in turn, from a model whose token ids are made up."""
    following = iter(replies)

    def reply(op: Operation) -> object:
        match op:
            case Prefill():
                return op.prompt.extended(op.text, words.get(op.text, (7, 7, 7) if words else ()))
            case DescribeModel():
                return MODEL
            case Sample():
                following_reply = next(following)
                if isinstance(following_reply, Completion):
                    return (replace(following_reply, prompt=op.prompts[0]),)
                return following_reply
        raise AssertionError(op)

    return follow(strategy.plan(QUESTION), reply, Forced())


def thinks(tokens: int, *, by: int | None = END, text: str = "hm", finish: FinishReason = "stop") -> Completion:
    """Thinking of so many tokens, closed by a token: END, another stop token, or the end of the sequence."""
    closed = () if finish != "stop" else (EOS if by is None else by,)
    ids = (1,) * tokens + closed
    return Completion(QUESTION.prompt, text, ids, finish, by if closed else None, Usage(9, 0, len(ids)))


def key(answer: Answer | None) -> str | None:
    return answer.key if answer else None


PINNED = BudgetForcing(max_thinking=100, waits=2)
CUT = thinks(18, finish="length")


def test_the_published_course() -> None:
    """Cap 100, 40 tokens and END each time, one token of Wait, two waits: rooms 100, 59, 18 and then it is forced."""
    pinned = course(PINNED, thinks(40), thinks(40), CUT, thinks(3, by=None, text=" 7"))
    assert pinned.rooms == [100, 59, 18, 256]
    assert pinned.notes == ["thinking cut after 100 tokens, 2 forced to continue"]
    assert pinned.forced == ["</think>", "Wait", "Wait", "\n</think>\nFinal Answer:"]
    assert pinned.text == "hmWaithmWaithm\n</think>\nFinal Answer:"
    assert pinned.samples[-1].prompts[0].token_ids == (*(1,) * 40, 50, *(1,) * 40, 50, *(1,) * 18, 7, 7, 7)
    assert key(pinned.answer) == "7"


def test_a_marker_that_tokens_share_with_other_text_is_taken_out_by_its_text() -> None:
    marker = EndMarker("</think>")
    params = marker.ending(SamplingParams())
    assert (params.stop, params.stop_in_thinking, params.stop_token_ids) == (("</think>",), True, ())
    out = Completion(QUESTION.prompt, "", (1, 2, 3), "stop", "</think>", Usage(9, 0, 3, 3), thinking="hm")
    plan = marker.open_after(QUESTION.prompt, out)
    assert next(plan) == Prefill(QUESTION.prompt, "hm")
    assert marker.ended(out)


class Thinker(ScriptedEngine):
    """40 tokens of thinking and then the end marker, as far as there is room; without that stop token, an answer."""

    async def sample(self, request: SampleRequest) -> Completion:
        [marker] = await self.encode("</think>") or ()
        if marker not in request.params.stop_token_ids:
            return await ScriptedEngine.sample(self, request)
        ids = ((await self.encode("hm") or ()) * 40 + (marker,))[: request.params.max_tokens]
        ended = ids[-1] == marker
        usage = Usage(request.rendered.tokens, 0, len(ids))
        request.meter.usage = usage
        self.usage.append(usage)
        text = "hm" * (len(ids) - ended)
        return Completion(
            request.prompt,
            text,
            ids,
            "stop" if ended else "length",
            marker if ended else None,
            usage,
            seed=request.seed,
        )


def test_the_published_course_is_charged_as_published() -> None:
    engine = Thinker(lambda _: " 7")
    solution = solve_sync(QUESTION, PINNED, engine)
    assert key(solution.answer) == "7"
    # 98 tokens of thinking and 2 stripped markers, then the answer and its end.
    assert [usage.generated_tokens for usage in engine.usage] == [41, 41, 18, 2]
    assert solution.cost.generated_tokens == 98 + 2 + 2
    # Each resumption sends what went before and one Wait more; the markers are not in it.
    head, second, third, _ = (usage.prompt_tokens for usage in engine.usage)
    assert (second - head, third - head) == (41, 82)
    assert solution.cost.samples == 4


def test_what_the_model_closes_itself_continues_from_the_marker_alone() -> None:
    closed = course(BudgetForcing(), thinks(40), thinks(3, by=None, text="So the answer is 7"))
    assert (closed.rooms, closed.text) == ([4096, 256], "hm</think>")
    assert closed.samples[0].params.stop_token_ids == (END,)
    assert closed.samples[1].params.stop_token_ids == ()
    assert closed.notes == ["thinking ended after 40 tokens, 0 forced to continue"]
    assert key(closed.answer) == "7"


def test_the_end_of_the_sequence_asks_for_the_answer() -> None:
    ended = course(BudgetForcing(), thinks(40, by=None, text="The answer is 8"), thinks(1, by=None, text=" 7"))
    assert ended.text == "The answer is 8\n</think>\nFinal Answer:"
    assert [key(op.answer) for op in ended.proposals] == ["8", "7"]
    assert [op.vote_state.samples for op in ended.proposals] == [1, 1]


@pytest.mark.parametrize("spelling", [(5, 6), ()])
def test_where_the_marker_is_no_token_of_the_model_none_is_written(spelling: tuple[int, ...]) -> None:
    plain = course(BudgetForcing(), thinks(40, by=None), thinks(1, by=None, text=" 7"), words={"</think>": spelling})
    assert plain.samples[0].params.stop_token_ids == ()
    assert plain.text == "hm\nFinal Answer:"
    assert key(plain.answer) == "7"


def test_thinking_that_is_cut_is_closed_by_force() -> None:
    cut = course(
        BudgetForcing(max_thinking=30), thinks(30, finish="length", text="The answer is 8"), thinks(1, text="")
    )
    assert cut.rooms == [30, 256]
    assert cut.text == "The answer is 8\n</think>\nFinal Answer:"
    # What was cut is not read, and the answer holds nothing.
    assert (cut.answer, [op.answer for op in cut.proposals]) == (None, [None])


def test_it_is_made_to_think_on_up_to_the_least() -> None:
    minimum = course(
        BudgetForcing(min_thinking=60, wait="Hmm"),
        *[thinks(20)] * 3,
        thinks(1, by=None, text=" 7"),
        words={**WORDS, "Hmm": (51, 52)},
    )
    # 20, 22 + 20, 44 + 20 tokens.
    assert minimum.rooms == [4096, 4074, 4052, 256]
    assert minimum.forced[1:3] == ["Hmm", "Hmm"]


def test_no_wait_is_forced_where_no_room_is_left_for_what_follows() -> None:
    full = course(BudgetForcing(max_thinking=41, waits=5), thinks(40), thinks(1, by=None, text="The answer is 7"))
    assert (full.rooms, full.text) == ([41, 256], "hm</think>")
    more = course(BudgetForcing(max_thinking=42, waits=5), thinks(40), thinks(1, finish="length"), thinks(1, text=" 7"))
    assert more.rooms == [42, 1, 256]


def test_without_a_tokenizer_forced_words_count_as_nothing_and_it_still_ends() -> None:
    server = BudgetForcing(max_thinking=100, waits=1)
    told = replace(thinks(0, by=None, text="hm"), token_ids=(), usage=Usage(9, 0, 40))
    run = course(server, told, told, thinks(1, by=None, text=" 7"), words={})
    assert (run.rooms, run.text) == ([100, 60, 256], "hmWaithm\nFinal Answer:")
    silent = replace(told, text="", usage=Usage(9, 0, 0))
    assert course(BudgetForcing(min_thinking=50), silent, thinks(1, text=" 7"), words={}).rooms == [4096, 256]


def test_an_answer_that_is_cut_or_holds_none_leaves_what_the_thinking_held() -> None:
    for last in (thinks(256, finish="length", text="is 7"), thinks(2, by=None, text="I do not know")):
        run = course(BudgetForcing(), thinks(40, text="The answer is 8"), last)
        assert (key(run.answer), key(run.proposals[-1].answer)) == ("8", "8")


def test_the_answer_is_read_from_the_closing_and_not_from_the_thinking() -> None:
    thought, last = thinks(9, by=None, text="The answer is 8"), thinks(1, by=None, text=" 7")
    # Without a marker nothing in the text says where thinking ends, and its cue would win over a bare number.
    run = course(BudgetForcing(closing="So"), thought, last, words={"</think>": (5, 6)})
    assert [key(op.answer) for op in run.proposals] == ["8", "7"]


@pytest.mark.parametrize(("maximum", "rooms"), [(1000, [744, 256]), (300, [150, 150]), (3, [2, 1]), (1, [1])])
def test_max_tokens_caps_the_whole_chain(maximum: int, rooms: list[int]) -> None:
    replies = [thinks(1), thinks(1, by=None, text=" 7")][-len(rooms) :]
    run = course(BudgetForcing(params=SamplingParams(max_tokens=maximum)), *replies)
    assert run.rooms == rooms
    assert sum(run.rooms) == maximum
