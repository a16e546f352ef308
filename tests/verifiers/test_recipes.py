"""Recipes as data: the tokens that each family reads, where it reads them, and the candidates that it rejects."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from reasoner import Prompt, Question
from reasoner.errors import UsageError, VerifierError
from reasoner.types import Completion
from reasoner_verifiers.reward.recipes import (
    HEAD,
    QWEN_MATH_PRM,
    SEQUENCE_CLASSIFICATION,
    SKYWORK_PRM,
    Case,
    Recipe,
    RewardInput,
    choose,
    lay,
)
from tests.verifiers.rewards import LetterModel, Letters, model_folder, read, written

QUESTION = Question.of("How many?", space="number")
TEXT = "One.\n\nTwo.\n\nThree"


def laid(
    recipe: Recipe, candidate: Completion, *, separator: str = "\n\n", question: Question = QUESTION, own: bool = False
) -> RewardInput:
    case = Case(question, candidate, separator, Letters() if own else None)
    return asyncio.run(lay(recipe, LetterModel("m"), case))


def cut(found: RewardInput) -> list[str]:
    """The text up to each place where a score is read."""
    return [read(found.ids[: place + 1]) for place in found.positions]


def test_qwen_reads_a_tag_after_every_step_the_last_one_too() -> None:
    system = "[system]Please reason step by step, and put your final answer within \\boxed{}.<end>"
    start = f"{system}[user]How many?<end>[assistant]One.<extra_0>"
    assert cut(laid(QWEN_MATH_PRM, written(TEXT))) == [
        start,
        f"{start}Two.<extra_0>",
        f"{start}Two.<extra_0>Three<extra_0>",
    ]


def test_skywork_reads_a_newline_after_every_step() -> None:
    start = "^How many?\nOne.\n"
    assert cut(laid(SKYWORK_PRM, written(TEXT))) == [start, f"{start}Two.\n", f"{start}Two.\nThree\n"]


def test_sequence_classification_reads_the_end_of_the_chat() -> None:
    prompt = Prompt.chat("Sum?", system="Be brief.")
    found = laid(SEQUENCE_CLASSIFICATION, written("It is 7", prompt=prompt), separator="")
    assert cut(found) == ["[system]Be brief.<end>[user]Sum?<end>[assistant]It is 7<end>"]


def test_a_head_reads_where_a_separator_is_complete_and_at_the_last_token() -> None:
    assert cut(laid(HEAD, written("One.\n\n\n\nTwo.\n\nThr", finish="length"), own=True)) == [
        "user How many?One.\n\n",
        "user How many?One.\n\n\n\nTwo.\n\n",
        "user How many?One.\n\n\n\nTwo.\n\nThr",
    ]


def test_a_head_reads_a_path_that_grew_over_several_samples() -> None:
    first = written("One.\n\n", finish="length")
    second = written("Two.", prompt=first.prompt.then(first))
    assert cut(laid(HEAD, second, own=True)) == ["user How many?One.\n\n", "user How many?One.\n\nTwo."]
    assert laid(HEAD, first, own=True).positions == laid(HEAD, second, own=True).positions[:1]


def test_a_head_reads_text_where_the_policy_has_other_tokens() -> None:
    assert cut(laid(HEAD, written("One.\n\nTwo."))) == [
        "[user]How many?<end>[assistant]One.\n\n",
        "[user]How many?<end>[assistant]One.\n\nTwo.",
    ]


@pytest.mark.parametrize(
    ("question", "text"), [("How many <extra_0>?", "One."), ("How many?", "One.\n\nTwo <extra_0> or three")]
)
def test_the_tag_in_the_question_or_in_a_step_is_rejected(question: str, text: str) -> None:
    with pytest.raises(VerifierError, match=r"'<extra_0>', the tag of .*, occurs in the question or in a step"):
        laid(QWEN_MATH_PRM, written(text), question=Question.of(question, space="number"))


def test_the_tags_token_from_other_text_is_a_count_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two characters that a tokenizer joins into the tag's token, which no look at the text can find."""
    monkeypatch.setitem(__import__("tests.verifiers.rewards", fromlist=["SPECIAL"]).SPECIAL, "qq", 151651)
    with pytest.raises(VerifierError, match="found 3 positions for 2 steps"):
        laid(QWEN_MATH_PRM, written("One qq.\n\nTwo."))


@pytest.mark.parametrize("recipe", [HEAD, QWEN_MATH_PRM, SKYWORK_PRM, SEQUENCE_CLASSIFICATION])
def test_a_candidate_without_steps_is_rejected(recipe: Recipe) -> None:
    with pytest.raises(VerifierError, match="no steps"):
        laid(recipe, written("  \n\n "), own=recipe is HEAD)


@pytest.mark.parametrize("recipe", [QWEN_MATH_PRM, SKYWORK_PRM, HEAD])
def test_a_longer_path_begins_with_the_tokens_of_the_shorter_one(recipe: Recipe) -> None:
    paths = [laid(recipe, written("".join(f"Step {n}: so.\n\n" for n in range(1, count)))) for count in range(2, 6)]
    for short, longer in pairwise(paths):
        assert longer.ids[: len(short.ids)] == short.ids
        assert longer.positions[:-1] == short.positions


@pytest.mark.parametrize(
    ("model", "config", "recipe"),
    [
        ("embedded", None, "head"),
        ("my/head.safetensors", None, "head"),
        ("folder", {"reasoner_head": True, "architectures": ["Qwen2ForRewardModel"]}, "head"),
        ("folder", {"architectures": ["Qwen2ForProcessRewardModel"]}, "qwen_math_prm"),
        ("folder", {"architectures": ["Qwen2ForPrmModel"]}, "skywork_prm"),
        ("Qwen/Qwen2.5-Math-PRM-7B", None, "qwen_math_prm"),
        ("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B", None, "skywork_prm"),
    ],
)
def test_the_recipe_of_a_model_is_found(
    model: str, config: dict[str, object] | None, recipe: str, tmp_path: Path
) -> None:
    folder = None if config is None else Path(model_folder(tmp_path / "m", **config))
    assert choose("auto", model, folder, "steps").name == recipe


def test_a_sequence_classifier_rates_outcomes(tmp_path: Path) -> None:
    folder = Path(model_folder(tmp_path / "m", architectures=["LlamaForSequenceClassification"]))
    assert choose("auto", "folder", folder, "outcome").name == "sequence_classification"
    with pytest.raises(UsageError, match="rates outcome: use the verifier `orm`"):
        choose("auto", "folder", folder, "steps")
    with pytest.raises(UsageError, match="rates steps: use the verifier `prm`"):
        choose("skywork_prm", "folder", None, "outcome")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("[" * 10**5, "nested too deeply"),
        ("[]", "holds a list, not an object"),
        ("{", "malformed"),
        ('{"architectures": 5}', "no recipe is known"),
        ('{"architectures": [[]]}', "no recipe is known"),
    ],
)
def test_a_folder_whose_config_is_malformed_is_refused(config: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(UsageError, match=complaint):
        choose("auto", "model", tmp_path, "outcome")


def test_a_model_of_no_known_family_asks_for_a_recipe() -> None:
    with pytest.raises(UsageError, match="no recipe is known for 'org/model': choose recipe=head, qwen_math_prm, sky"):
        choose("auto", "org/model", None, "steps")
