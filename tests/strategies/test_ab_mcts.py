"""AB-MCTS-A: its tree by itself, its plan, and a world in which refining pays or does not."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest

from reasoner import Budget, solve_many_sync, solve_sync
from reasoner.answers.questions import Question
from reasoner.engine import SampleRequest
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.strategy import Finished, Handle, Next, Plan, Propose, Sample, Score, Start
from reasoner.trace.events import Event, Sampled
from reasoner.types import Answer, Completion, Message, Prompt, SamplingParams
from reasoner_strategies.ab_mcts import AbMcts, AnswerNode, AnswerTree, Arm, Prior, Selector, refinement
from tests.helpers import Judge, completion, finish, number_question
from tests.scripted import MODEL, ScriptedEngine
from tests.strategies.test_mcts import rating

QUESTION = number_question()
REFUSED = BudgetExhausted("tokens", needed=9, free=0, limit=5)


def arm(*ratings: float) -> Arm:
    made = Arm()
    for value in ratings:
        made.add(value)
    return made


# What is believed


def test_the_published_posterior() -> None:
    assert arm().normal() == pytest.approx((0, 1, 1, 0.1))
    assert arm(0.8, 0.6).normal() == pytest.approx((0.46667, 3, 3, 0.14889), abs=1e-5)
    assert arm().beta() == pytest.approx((0.5, 0.5))
    assert arm(0.8, 0.6, 0.0).beta() == pytest.approx((1.9, 2.1))


def test_the_posterior_of_many_equal_ratings_keeps_its_precision() -> None:
    m, kappa, _, tau2 = arm(*[0.9] * 10_000).normal()
    assert m == pytest.approx(0.9, abs=1e-3)
    assert kappa == 10_001
    assert tau2 == pytest.approx((0.1 + 0.81 * 10_000 / 10_001) / 10_001, rel=1e-6)


@pytest.mark.parametrize("prior", ["normal", "beta"])
def test_draws_have_the_posteriors_mean(prior: Prior) -> None:
    told = arm(*[0.2, 0.5, 0.8] * 10)
    source = random.Random(5)
    drawn = [told.draw(prior, source) for _ in range(4000)]
    mean, spread = (15 / 31, 0.05) if prior == "normal" else (15.5 / 31, 0.09)
    assert sum(drawn) / len(drawn) == pytest.approx(mean, abs=3 * spread / 4000**0.5)


def test_no_order_of_ratings_changes_a_sum() -> None:
    values = [0.1, 0.2, 0.3, 0.7, 1e-9, 1.0]
    assert len({repr(arm(*order)) for order in itertools.permutations(values)}) == 1


# The tree


def tree_of(
    told: Sequence[tuple[int, int | None, float]], order: Sequence[int], prior: Prior = "normal", repeats: int = 1
) -> AnswerTree:
    """A tree whose generation `number` refined that of `under` (None the root), told in some order."""
    tree = AnswerTree("q", prior)
    nodes: dict[int | None, AnswerNode] = {None: tree.root}
    left = [told[at] for at in order]
    while left:
        for number, under, value in list(left):
            if under in nodes:
                tree._refined[number] = nodes[under]
                for _ in range(repeats):
                    tree.report(number, value, completion(str(number)))
                nodes[number] = next(one for one in nodes[under].children if one.number == number)
                left.remove((number, under, value))
    return tree


FAMILY = ((0, None, 0.3), (1, None, 0.9), (2, 0, 0.5), (3, 1, 0.7), (4, 3, 0.2))


def test_a_rating_counts_where_it_should() -> None:
    """For the node itself, its parent's GEN, and for CONT and the node at every ancestor."""
    tree = tree_of(FAMILY, range(5))
    first, second = tree.root.children
    [third] = second.children
    [last] = third.children
    assert repr(tree.root.generate) == repr(arm(0.3, 0.9))
    assert repr(tree.root.continue_) == repr(arm(0.5, 0.7, 0.2))
    assert repr(first.value) == repr(arm(0.3, 0.5))
    assert repr(second.value) == repr(arm(0.9, 0.7, 0.2))
    assert (repr(second.generate), repr(second.continue_)) == (repr(arm(0.7)), repr(arm(0.2)))
    assert (repr(third.value), repr(third.generate), repr(third.continue_)) == (
        repr(arm(0.7, 0.2)),
        repr(arm(0.2)),
        repr(arm()),
    )
    assert repr(last.value) == repr(arm(0.2))


@pytest.mark.parametrize("prior", ["normal", "beta"])
def test_neither_the_order_nor_the_number_of_tellings_changes_what_is_asked(prior: Prior) -> None:
    def asks(tree: AnswerTree) -> list[int]:
        return [tree.ask(number).number for number in range(10, 200)]

    plain = asks(tree_of(FAMILY, range(5), prior))
    assert len(set(plain)) >= 4
    for order in itertools.permutations(range(5)):
        assert asks(tree_of(FAMILY, order, prior)) == plain
    assert asks(tree_of(FAMILY, range(5), prior, repeats=3)) == plain


def test_draws_depend_on_the_question_the_number_and_the_prior() -> None:
    def asks(question_id: str, prior: Prior) -> list[int]:
        tree = tree_of(FAMILY, range(5), prior)
        tree.question_id = question_id
        return [tree.ask(number).number for number in range(50)]

    assert asks("q", "normal") == asks("q", "normal")
    assert len({tuple(asks(*each)) for each in (("q", "normal"), ("p", "normal"), ("q", "beta"))}) == 3


def test_with_nothing_told_all_is_generated_at_the_root() -> None:
    tree = AnswerTree("q", "normal")
    assert {tree.ask(number) for number in range(20)} == {tree.root}


# What the model is asked


def node(text: str, value: float, prompt: Prompt = QUESTION.prompt) -> AnswerNode:
    return AnswerNode(0, AnswerNode(), value, completion(text, prompt=prompt))


def test_a_refinement_goes_on_from_the_answer_and_tells_its_rating() -> None:
    prompt = refinement(QUESTION, node("It is 8. The answer is 8", 0.257))
    *head, reply, wish = prompt.messages
    assert tuple(head) == QUESTION.prompt.messages
    assert reply == Message("assistant", "It is 8. The answer is 8")
    assert wish.role == "user"
    assert "0.26" in wish.content
    assert QUESTION.space.instruction in wish.content
    assert refinement(QUESTION, AnswerNode()) is QUESTION.prompt


def test_a_refinement_of_a_refinement_shows_the_last_answer_only_and_its_end() -> None:
    earlier = refinement(QUESTION, node("first", 0.1))
    prompt = refinement(QUESTION, node("x" * 9000 + "last", 0.2, earlier))
    assert len(prompt.messages) == len(QUESTION.prompt.messages) + 2
    assert "first" not in prompt.messages[-2].content
    assert prompt.messages[-2].content.endswith("last")
    assert len(prompt.messages[-2].content) < 4100


def test_a_raw_prompt_is_refined_in_raw_text() -> None:
    raw = Question("q", "How many?", Prompt(raw="Q: How many?\nA:"), QUESTION.space)
    prompt = refinement(raw, node(" 8", 0.5))
    assert prompt.raw.startswith("Q: How many?\nA:8")
    assert "0.50" in prompt.raw


# The plan

Reply = Callable[[int, Sample], Completion]


def drive(
    strategy: AbMcts,
    reply: Reply,
    rate: Callable[[Completion], float | None],
    *,
    which: Callable[[int], int] = lambda _: 0,
) -> tuple[Answer | None, list[Sample], list[Propose], int]:
    """Run a plan; `which` of so many operations in flight finishes next."""
    plan: Plan[Answer | None] = strategy.plan(QUESTION)
    running: list[tuple[Handle, int, Any]] = []
    samples: list[Sample] = []
    proposals: list[Propose] = []
    maximum, told = 0, 0
    sent: Any = None
    while True:
        try:
            op = plan.send(sent)
        except StopIteration as end:
            return end.value, samples, proposals, maximum
        sent = None
        match op:
            case Start(op=started):
                told += 1
                sent = Handle(told)
                running.append((sent, len(samples), started))
                samples += [started] if isinstance(started, Sample) else []
                maximum = max(maximum, len(running))
            case Next():
                handle, number, done = running.pop(which(len(running)))
                if isinstance(done, Sample):
                    assert (done.n, len(done.prompts)) == (1, 1)
                    sent = Finished(handle, completions=(reply(number, done),))
                else:
                    assert isinstance(done, Score)
                    sent = Finished(handle, ratings=tuple(rating(rate(one)) for one in done.candidates))
            case Propose():
                proposals.append(op)
            case _:
                raise AssertionError(op)


def answering(*keys: str | None) -> Reply:
    def reply(number: int, op: Sample) -> Completion:
        key = keys[number % len(keys)]
        return completion("no idea" if key is None else f"{number}: the answer is {key}", prompt=op.prompts[0])

    return reply


def first_number(one: Completion) -> int:
    return int(one.text.split(":")[0])


def test_it_generates_n_answers_so_many_at_a_time() -> None:
    for concurrency in (1, 3):
        _, samples, proposals, maximum = drive(AbMcts(n=12, concurrency=concurrency), answering("7"), lambda _: 0.5)
        assert (len(samples), maximum) == (12, concurrency)
        assert proposals[-1].vote_state.samples == 12


def test_with_one_at_a_time_the_second_generation_knows_the_first_rating() -> None:
    one = drive(AbMcts(n=40, concurrency=1), answering("7"), lambda _: 0.9)[1]
    assert one[0].prompts == (QUESTION.prompt,)
    assert len({sample.prompts[0] for sample in one}) > 3


def test_the_best_rated_or_the_class_of_the_highest_total() -> None:
    values = [0.9, 0.5, 0.5, 0.1]
    chosen = {}
    for selector in get_args(Selector):
        strategy = AbMcts(n=4, concurrency=4, selector=selector)
        answer, _, proposals, _ = drive(strategy, answering("7", "8", "8", None), lambda one: values[first_number(one)])
        assert answer == proposals[-1].answer
        assert answer is not None
        chosen[selector] = answer.key
    assert chosen == {"argmax": "7", "weighted": "8"}


def test_a_generation_that_could_not_be_rated_is_no_node_and_votes_only_among_its_kind() -> None:
    some = drive(
        AbMcts(n=3, concurrency=3), answering("7", "8", "8"), lambda one: 0.1 if first_number(one) == 0 else None
    )
    assert some[0] is not None
    assert some[0].key == "7"
    answer, samples, proposals, _ = drive(AbMcts(n=9), answering("7", "8", "8"), lambda _: None)
    assert answer is not None
    assert answer.key == "8"
    assert {sample.prompts for sample in samples} == {(QUESTION.prompt,)}
    assert proposals[-1].vote_state.samples == 9


def test_generations_without_an_answer_are_not_rated_and_abstain() -> None:
    answer, samples, proposals, _ = drive(AbMcts(n=5), answering(None), lambda _: 1 / 0)
    assert (answer, len(samples)) == (None, 5)
    assert (proposals[-1].vote_state.votes, proposals[-1].vote_state.samples) == ((), 5)


def test_user_options_reach_every_request() -> None:
    params = SamplingParams(temperature=0.3, top_p=0.8, logprobs=2, stop=("@",), max_tokens=99)
    assert {sample.params for sample in drive(AbMcts(n=9, params=params), answering("7"), lambda _: 0.9)[1]} == {params}


def one_drawn(strategy: AbMcts) -> Plan[Answer | None]:
    """A plan that waits for its second generation and the rating of its first."""
    plan = strategy.plan(QUESTION)
    for each in (None, Handle(1), Handle(2)):
        plan.send(each)
    drawn = answering("7")(0, Sample((QUESTION.prompt,)))
    assert isinstance(plan.send(Finished(Handle(1), completions=(drawn,))), Start)
    assert isinstance(plan.send(Handle(3)), Propose)
    assert isinstance(plan.send(None), Next)
    return plan


def test_a_refusal_ends_it_with_what_was_drawn() -> None:
    answer = finish(one_drawn(AbMcts(n=9, concurrency=2)), REFUSED)
    assert answer is not None
    assert answer.key == "7"


@pytest.mark.parametrize("context", [14, 30])
def test_a_small_window_is_an_error_only_where_the_question_itself_does_not_fit(context: int) -> None:
    engine = ScriptedEngine(lambda _: "The answer is 7", model=replace(MODEL, context=context))
    small = Question("q", "How many?", Prompt.chat("How many " + "so " * 12), QUESTION.space)
    solution = solve_sync(small, AbMcts(n=20, concurrency=1), engine, verifier=Judge(lambda _: 1.0))
    assert (solution.error is None, solution.answer is None) == (context == 30, context == 14)


# A world in which refining pays, or does not


def improving(step: float) -> Callable[[SampleRequest], str]:
    """Fresh answers are worth 0.3 in the mean, and refinements that much more than the answer before."""

    def say(request: SampleRequest) -> str:
        noise = random.Random(request.seed).gauss(0, 0.05)
        base = 0.3 - step
        if len(request.prompt.messages) > 2:
            base = float(request.prompt.messages[-2].content.split()[0])
        return f"{min(1.0, max(0.0, base + step + noise)):.4f} is how good it is. The answer is 7"

    return say


def worth(one: Completion) -> float:
    return float(one.text.split()[0])


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["normal", "beta"])
def test_it_goes_deep_where_refining_pays_and_wide_where_it_harms(prior: Prior) -> None:
    fresh: dict[float, float] = {}
    best: dict[float, float] = {}
    for step in (0.15, -0.15):
        events: list[Event] = []
        questions = [Question.of("How many?", space="number", id=str(at)) for at in range(40)]
        strategy, engine = AbMcts(n=24, concurrency=2, prior=prior), ScriptedEngine(improving(step))
        solutions = solve_many_sync(questions, strategy, engine, verifier=Judge(worth), trace=events.append)
        roots = {question.prompt.digest for question in questions}
        sampled = [event.prompt in roots for event in events if isinstance(event, Sampled)]
        fresh[step] = sum(sampled) / len(sampled)
        best[step] = sum(one.vote_state.votes[0].weight for one in solutions) / len(solutions)
    assert fresh[0.15] + 0.1 < fresh[-0.15]
    assert best[0.15] > best[-0.15] + 0.2


def test_a_budget_ends_it_in_time_with_the_best_so_far() -> None:
    solution = solve_sync(
        QUESTION, AbMcts(n=50), ScriptedEngine(improving(0.1)), verifier=Judge(worth), budget=Budget(tokens=900)
    )
    assert solution.error is None
    assert (solution.ended_by, solution.answer and solution.answer.key) == ("budget", "7")
    assert solution.cost.tokens <= 900


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 0}, "n must be .*got 0"),
        ({"prior": "flat"}, "prior must be normal or beta .got"),
        ({"concurrency": 0}, "concurrency must be .*got 0"),
        ({"selector": "best"}, "selector must be argmax or weighted .got"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        AbMcts(**options)
