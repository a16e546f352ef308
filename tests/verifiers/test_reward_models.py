"""Reward models: what answers and steps are rated and cost, how models start and stop, and what each recipe reads."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from reasoner import Cost, Prompt, Question
from reasoner.engine import Engine
from reasoner.errors import EngineError, UsageError, VerifierError
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Orm, Prm
from reasoner_verifiers.reward import model as reward
from reasoner_verifiers.reward import recipes
from reasoner_verifiers.reward.model import StepCache, step_keys
from reasoner_verifiers.reward.recipes import (
    HEAD,
    QWEN_MATH_PRM,
    SEQUENCE_CLASSIFICATION,
    Case,
    Recipe,
    RewardInput,
    choose,
    lay,
    step_ends,
)
from tests.verifiers.rewards import (
    LetterModel,
    Letters,
    model_folder,
    read,
    scalar,
    spell,
    written,
)

QUESTION = Question.of("How many?", space="number")
POLICY = Letters()
START = "user How many?"
PATH = ("One.\n\n", "Two, and more.\n\n", "Three.\n\n", "Seven")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(reward, "PoolingEngine", LetterModel)
    return model_folder(tmp_path / "m", reasoner_head=True)


@pytest.fixture
def orm(folder: str) -> Orm:
    return Orm(model=folder)


def model(verifier: Orm | Prm) -> LetterModel:
    engine = verifier.running.started.engine
    assert isinstance(engine, LetterModel)
    return engine


def rate(
    verifier: Orm | Prm, candidate: Completion | str, policy: Engine = POLICY
) -> Rating:
    """A rating within its bound; a text is a chain that was cut."""
    rated = (
        written(candidate, finish="length") if isinstance(candidate, str) else candidate
    )

    async def go() -> Rating:
        bound = await verifier.bound(QUESTION, rated, policy)
        rating = await verifier.score(QUESTION, rated, policy, CostMeter())
        assert rating.cost.verifier_tokens <= bound.verifier_tokens
        assert rating.cost.requests <= bound.requests
        assert rating.cost.cached_tokens <= bound.cached_tokens
        assert (rating.cost.flops or 0) <= (bound.flops or 0)
        return rating

    return asyncio.run(go())


def expected(text: str, *ends: int) -> tuple[float, ...]:
    return tuple(special.expit(scalar(spell(START + text[:end]))) for end in ends)


# Whole answers


def test_its_value_is_the_sigmoid_at_the_last_token_and_its_cost_the_engines_count(
    orm: Orm,
) -> None:
    ids = spell("user How many?It is 7")
    rating = rate(orm, written("It is 7"))
    assert rating.value == pytest.approx(special.expit(scalar(ids)))
    assert rating.steps == ()
    [usage] = model(orm).calls
    assert rating.cost == Cost(
        verifier_tokens=len(ids),
        requests=1,
        flops=model(orm).model.flops(prompt=len(ids), cached=0, generated=0),
    )
    assert usage.prompt_tokens == len(ids)


def test_a_failure_is_an_error_whose_cost_is_known(orm: Orm) -> None:
    async def go() -> CostMeter:
        await orm.start(POLICY)
        model(orm).failing = True
        cost_meter = CostMeter()
        with pytest.raises(EngineError, match="fell over"):
            await orm.score(QUESTION, written("It is 7"), POLICY, cost_meter)
        return cost_meter

    cost = asyncio.run(go()).cost
    assert cost is not None
    assert cost.verifier_tokens == len("user How many?It is 7")


def test_a_candidate_beyond_the_models_window_is_an_error(orm: Orm) -> None:
    rate(orm, written("1"))
    model(orm).window = 20
    with pytest.raises(
        VerifierError, match="24 tokens and the reward model's context is 20"
    ):
        rate(orm, written("It is 1234"))


def test_many_that_start_it_at_once_start_one(orm: Orm) -> None:
    async def go() -> list[int]:
        async def start() -> int:
            await orm.start(POLICY)
            return id(orm.running.started)

        return await asyncio.gather(*(start() for _ in range(5)))

    assert len(set(asyncio.run(go()))) == 1


def test_closed_it_is_gone_and_starts_again(orm: Orm) -> None:
    rate(orm, written("1"))
    first = model(orm)
    asyncio.run(orm.close())
    asyncio.run(orm.close())
    assert orm.running.model is None
    rate(orm, written("1"))
    assert model(orm) is not first


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        (
            Orm,
            {"recipe": "prm"},
            "recipe must be auto, head or sequence_classification .got",
        ),
        (
            Orm,
            {"model": "/nowhere/head.safetensors"},
            "there is no file /nowhere/head.safetensors",
        ),
        (Prm, {"separator": ""}, "separator must not be empty"),
    ],
)
def test_options_that_cannot_work_are_refused(
    kind: type[Orm | Prm], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        asyncio.run(kind(**options).start(POLICY))


# Steps


def test_every_step_is_scored_where_it_ends(folder: str) -> None:
    text = "".join(PATH)
    rating = rate(Prm(folder), text)
    assert rating.steps == pytest.approx(expected(text, 6, 22, 30, 35), abs=1e-6)
    assert rating.value == rating.steps[-1]


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [("last", 0.4), ("min", 0.2), ("mean", 0.4), ("product", 0.6 * 0.2 * 0.4)],
)
def test_the_aggregate_of_the_steps_is_the_value(
    aggregate: Any, value: float, folder: str
) -> None:
    prm = Prm(folder, aggregate=aggregate)
    rate(prm, "a\n\nb\n\nc")
    cache = prm.running.started.cache
    for key, step in zip(list(cache._values), (0.6, 0.2, 0.4), strict=True):
        cache._values[key] = step
    rating = rate(prm, "a\n\nb\n\nc")
    assert rating.steps == (0.6, 0.2, 0.4)
    assert rating.value == pytest.approx(value)


def test_a_growing_path_is_never_scored_twice(folder: str) -> None:
    prm = Prm(folder)
    grown = [rate(prm, "".join(PATH[:count])) for count in range(1, 5)]
    assert [len(rating.steps) for rating in grown] == [1, 2, 3, 4]
    for rating in grown:
        assert rating.steps == grown[-1].steps[: len(rating.steps)]
    whole = len(START + "".join(PATH))
    assert sum(rating.cost.verifier_tokens for rating in grown) < whole + 4 * 4
    assert sum(rating.cost.requests for rating in grown) == 4
    again = rate(prm, "".join(PATH))
    assert (again.cost, again.steps) == (Cost(), grown[-1].steps)


def test_scores_lost_with_a_cancelled_rating_are_computed_past_the_engines_cache(
    folder: str,
) -> None:
    prm = Prm(folder)
    text = "".join(PATH)

    async def go() -> tuple[CostMeter, Rating]:
        await prm.start(POLICY)
        gate = model(prm).gate = asyncio.Event()
        cost_meter = CostMeter()
        rating = asyncio.create_task(
            prm.score(QUESTION, written(text, finish="length"), POLICY, cost_meter)
        )
        await asyncio.sleep(0)
        rating.cancel()
        await asyncio.gather(rating, return_exceptions=True)
        gate.set()
        return cost_meter, await prm.score(
            QUESTION, written(text, finish="length"), POLICY, CostMeter()
        )

    cost_meter, rating = asyncio.run(go())
    assert cost_meter.cost is None
    assert rating.cost.cached_tokens == 0
    assert rating.steps == pytest.approx(expected(text, 6, 22, 30, 35), abs=1e-6)


def test_positions_that_the_engine_does_not_tell_are_an_error_once(folder: str) -> None:
    """Another user of the same engine left a prefix there of which no score is known."""
    prm = Prm(folder)
    rate(prm, "x")
    ids = spell(START + "".join(PATH))
    model(prm)._seen.update(ids[:end] for end in range(4, len(ids), 4))
    with pytest.raises(
        VerifierError,
        match="reported nothing before token 48, and a step ends at token 19",
    ):
        rate(prm, "".join(PATH))
    assert len(rate(prm, "".join(PATH)).steps) == 4


def test_two_labels_are_read_as_the_share_of_the_second(
    tmp_path: Path, folder: str
) -> None:
    prm = Prm(
        model_folder(tmp_path / "qwen", architectures=["Qwen2ForProcessRewardModel"])
    )
    asyncio.run(prm.start(POLICY))
    model(prm).labels = 2
    rating = rate(prm, "One.\n\nTwo.")
    assert rating.steps == (0.5, 0.5)
    assert prm.running.started._read((math.log(0.1), math.log(0.9))) == pytest.approx(
        0.9
    )
    with pytest.raises(VerifierError, match="reads 2 labels and the model gives 3"):
        prm.running.started._read((0.1, 0.2, 0.7))


def test_a_tag_that_is_not_one_token_of_the_expected_id_is_refused(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tokens in ({"<extra_0>": 5}, {"ab": 97}):
        qwen = replace(recipes.QWEN_MATH_PRM, tokens=tokens)
        monkeypatch.setitem(
            recipes._BY_ARCHITECTURE, "Qwen2ForProcessRewardModel", qwen
        )
        prm = Prm(
            model_folder(
                tmp_path / "qwen", architectures=["Qwen2ForProcessRewardModel"]
            )
        )
        with pytest.raises(
            UsageError,
            match=r"is not a qwen_math_prm model: .* should be token \d+ but is \[.*\]",
        ):
            asyncio.run(prm.start(POLICY))


# The cache of step scores


A, B, C, D = (bytes([letter]) for letter in b"ABCD")


class Computer:
    """Says 0.5 of everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[bytes, ...], bool]] = []
        self.gate: asyncio.Event | None = None

    def of(
        self, keys: Sequence[bytes]
    ) -> Callable[[Sequence[int], bool], Awaitable[list[float]]]:
        async def compute(missing: Sequence[int], lost: bool) -> list[float]:
            self.asked.append((tuple(keys[at] for at in missing), lost))
            if self.gate is not None:
                await self.gate.wait()
            return [0.5 for _ in missing]

        return compute

    async def fill(self, cache: StepCache, *keys: bytes) -> tuple[float, ...]:
        return await cache.fill(keys, self.of(keys))


def test_a_step_after_another_beginning_has_another_score() -> None:
    one, other = (list(step_keys((begin, 6, 7, 8), (1, 3))) for begin in (4, 5))
    assert not set(one) & set(other)
    assert one[:1] == list(step_keys((4, 6, 9), (1,)))


def test_what_several_ask_for_at_once_is_computed_once() -> None:
    cache, computer = StepCache(10), Computer()

    async def go() -> list[tuple[float, ...]]:
        computer.gate = asyncio.Event()
        asking = [
            asyncio.create_task(computer.fill(cache, A, key)) for key in (B, B, C)
        ]
        await asyncio.sleep(0)
        computer.gate.set()
        return await asyncio.gather(*asking)

    assert asyncio.run(go()) == [(0.5, 0.5)] * 3
    assert computer.asked == [((A, B), False), ((C,), False)]


def test_one_that_waits_and_is_cancelled_leaves_the_computation_to_the_others() -> None:
    cache, computer = StepCache(10), Computer()

    async def go() -> tuple[float, ...]:
        computer.gate = asyncio.Event()
        first, second = (asyncio.create_task(computer.fill(cache, A)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        computer.gate.set()
        return await first

    assert asyncio.run(go()) == (0.5,)


def test_the_least_recently_used_goes_first() -> None:
    cache, computer = StepCache(3), Computer()

    async def go() -> None:
        await computer.fill(cache, A, B, C)
        await computer.fill(cache, A)
        await computer.fill(cache, D)
        computer.asked.clear()
        await computer.fill(cache, A, C, D)
        assert computer.asked == []
        await computer.fill(cache, B)

    asyncio.run(go())
    assert computer.asked == [((B,), False)]


# Recipes

TEXT = "One.\n\nTwo.\n\nThree"


def laid(
    recipe: Recipe,
    candidate: Completion,
    *,
    question: Question = QUESTION,
    own: bool = False,
) -> RewardInput:
    separator = "" if recipe is SEQUENCE_CLASSIFICATION else "\n\n"
    case = Case(question, candidate, separator, Letters() if own else None)
    return asyncio.run(lay(recipe, LetterModel("m"), case))


SYSTEM = "[system]Please reason step by step, and put your final answer within \\boxed{}.<end>"
CHAT = Prompt.chat("Sum?", system="Be brief.")
GROWN = written("One.\n\n", finish="length")


@pytest.mark.parametrize(
    ("recipe", "own", "candidate", "start", "steps"),
    [
        (
            QWEN_MATH_PRM,
            False,
            written(TEXT),
            f"{SYSTEM}[user]How many?<end>[assistant]",
            ["One.<extra_0>", "Two.<extra_0>", "Three<extra_0>"],
        ),
        (
            SEQUENCE_CLASSIFICATION,
            False,
            written("It is 7", prompt=CHAT),
            "[system]Be brief.<end>[user]Sum?<end>",
            ["[assistant]It is 7<end>"],
        ),
        # A head reads where a separator is complete, and at the last token.
        (
            HEAD,
            True,
            written("One.\n\n\n\nTwo.\n\nThr", finish="length"),
            "user How many?",
            ["One.\n\n", "\n\nTwo.\n\n", "Thr"],
        ),
        (
            HEAD,
            True,
            written("Two.", prompt=GROWN.prompt.then(GROWN)),
            "user How many?",
            ["One.\n\n", "Two."],
        ),
        # The policy has other tokens.
        (
            HEAD,
            False,
            written("One.\n\nTwo."),
            "[user]How many?<end>[assistant]",
            ["One.\n\n", "Two."],
        ),
    ],
)
def test_a_recipe_reads_each_step_at_its_end(
    recipe: Recipe, own: bool, candidate: Completion, start: str, steps: list[str]
) -> None:
    found = laid(recipe, candidate, own=own)
    read_at = [read(found.ids[: place + 1]) for place in found.positions]
    assert read_at == [
        start + "".join(steps[: count + 1]) for count, _ in enumerate(steps)
    ]


PIECES = [b"\n\n", b"\n", b"a", b" b", b".\n\n", b"\n\nc\n\n", b"\xc3", b"\xa9", b" "]
"""Tokens, some of them halves of a letter, some with the ends of two steps."""


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=60).map(tuple), st.booleans())
def test_the_ends_of_steps_are_found_in_linear_work(
    ids: tuple[int, ...], stripped: bool
) -> None:
    decoded = 0

    def decode(ids: tuple[int, ...]) -> str:
        nonlocal decoded
        decoded += len(ids)
        text = b"".join(PIECES[token] for token in ids).decode("utf-8", "replace")
        return text.removeprefix(" ") if stripped else text

    found = step_ends(ids, decode, "\n\n")
    text, begin, prefixes = (
        decode(ids),
        0,
        [len(decode(ids[: at + 1])) for at in range(len(ids))],
    )
    expected = []
    for step in text.split("\n\n"):
        end = min(len(text), begin + len(step) + 2)
        if step.strip():
            expected.append(next(at for at, size in enumerate(prefixes) if size >= end))
        begin = end
    assert list(found) == expected
    decoded = 0
    step_ends((*ids, 2, 0) * 100, decode, "\n\n")
    assert decoded < 100 * 100 * (len(ids) + 2)


@pytest.mark.parametrize(
    ("question", "text"),
    [("How many <extra_0>?", "One."), ("How many?", "One.\n\nTwo <extra_0> or three")],
)
def test_the_tag_in_the_question_or_in_a_step_is_rejected(
    question: str, text: str
) -> None:
    with pytest.raises(
        VerifierError,
        match=r"'<extra_0>', the tag of .*, occurs in the question or in a step",
    ):
        laid(
            QWEN_MATH_PRM, written(text), question=Question.of(question, space="number")
        )


def test_the_tags_token_from_other_text_is_a_count_that_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two characters that a tokenizer joins into the tag's token, which no look at the text can find."""
    monkeypatch.setitem(
        __import__("tests.verifiers.rewards", fromlist=["SPECIAL"]).SPECIAL,
        "qq",
        151651,
    )
    with pytest.raises(VerifierError, match="found 3 positions for 2 steps"):
        laid(QWEN_MATH_PRM, written("One qq.\n\nTwo."))


@pytest.mark.parametrize("recipe", [HEAD, QWEN_MATH_PRM, SEQUENCE_CLASSIFICATION])
def test_a_candidate_without_steps_is_rejected(recipe: Recipe) -> None:
    with pytest.raises(VerifierError, match="no steps"):
        laid(recipe, written("  \n\n "), own=recipe is HEAD)


@pytest.mark.parametrize(
    ("model", "config", "recipe"),
    [
        ("my/head.safetensors", None, "head"),
        (
            "folder",
            {"reasoner_head": True, "architectures": ["Qwen2ForRewardModel"]},
            "head",
        ),
        ("Qwen/Qwen2.5-Math-PRM-7B", None, "qwen_math_prm"),
    ],
)
def test_the_recipe_of_a_model_is_found(
    model: str, config: dict[str, object] | None, recipe: str, tmp_path: Path
) -> None:
    folder = None if config is None else Path(model_folder(tmp_path / "m", **config))
    assert choose("auto", model, folder, "steps").name == recipe


def test_a_sequence_classifier_rates_outcomes(tmp_path: Path) -> None:
    folder = Path(
        model_folder(tmp_path / "m", architectures=["LlamaForSequenceClassification"])
    )
    assert choose("auto", "folder", folder, "outcome").name == "sequence_classification"
    with pytest.raises(UsageError, match="rates outcome: use the verifier `orm`"):
        choose("auto", "folder", folder, "steps")
    with pytest.raises(UsageError, match="rates steps: use the verifier `prm`"):
        choose("qwen_math_prm", "folder", None, "outcome")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("[" * 10**5, "nested too deeply"),
        ("{", "malformed"),
        ('{"architectures": [[]]}', "no recipe is known"),
    ],
)
def test_a_folder_whose_config_is_malformed_is_refused(
    config: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(UsageError, match=complaint):
        choose("auto", "model", tmp_path, "outcome")


def test_a_model_of_no_known_family_asks_for_a_recipe() -> None:
    with pytest.raises(
        UsageError,
        match="no recipe is known for 'org/model': choose recipe=head, qwen_math_prm",
    ):
        choose("auto", "org/model", None, "steps")
