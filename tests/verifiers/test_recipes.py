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


def laid(recipe: Recipe, candidate: Completion, *, question: Question = QUESTION, own: bool = False) -> RewardInput:
    separator = "" if recipe is SEQUENCE_CLASSIFICATION else "\n\n"
    case = Case(question, candidate, separator, Letters() if own else None)
    return asyncio.run(lay(recipe, LetterModel("m"), case))


SYSTEM = "[system]Please reason step by step, and put your final answer within \\boxed{}.<end>"
CHAT = Prompt.chat("Sum?", system="Be brief.")
GROWN = written("One.\n\n", finish="length")


@pytest.mark.parametrize(
    ("recipe", "own", "candidate", "start", "steps"),
    [
        (QWEN_MATH_PRM, False, written(TEXT), f"{SYSTEM}[user]How many?<end>[assistant]",
         ["One.<extra_0>", "Two.<extra_0>", "Three<extra_0>"]),
        (SKYWORK_PRM, False, written(TEXT), "^How many?\n", ["One.\n", "Two.\n", "Three\n"]),
        (SEQUENCE_CLASSIFICATION, False, written("It is 7", prompt=CHAT), "[system]Be brief.<end>[user]Sum?<end>",
         ["[assistant]It is 7<end>"]),
        # A head reads where a separator is complete, and at the last token.
        (HEAD, True, written("One.\n\n\n\nTwo.\n\nThr", finish="length"), "user How many?",
         ["One.\n\n", "\n\nTwo.\n\n", "Thr"]),
        (HEAD, True, written("Two.", prompt=GROWN.prompt.then(GROWN)), "user How many?", ["One.\n\n", "Two."]),
        # The policy has other tokens.
        (HEAD, False, written("One.\n\nTwo."), "[user]How many?<end>[assistant]", ["One.\n\n", "Two."]),
    ],
)  # fmt: skip
def test_a_recipe_reads_each_step_at_its_end(
    recipe: Recipe, own: bool, candidate: Completion, start: str, steps: list[str]
) -> None:
    found = laid(recipe, candidate, own=own)
    read_at = [read(found.ids[: place + 1]) for place in found.positions]
    assert read_at == [start + "".join(steps[: count + 1]) for count, _ in enumerate(steps)]


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
