"""The supported families of reward models, one recipe each: what they read and how a score is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reasoner.errors import UsageError
from reasoner.system.files import read_object

Layout = Literal["own_ids", "tagged_chat", "newlines", "turns", "tagged_text", "whole_chat"]
Reading = Literal["sigmoid", "softmax", "labels"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One family of reward models. If a score changes its meaning, `version` changes, and cached scores are not used.

    `layout` says how a candidate becomes tokens and where they are read (see `layouts`). `reading` says how a score is
    computed: the "sigmoid" of one scalar, the "softmax" of two labels, for the second one, or the probability of the
    first of two "labels" that are tokens of a language model. `tokens` maps texts to the token ids that they must have.
    """

    name: str
    version: int
    layout: Layout
    reading: Reading
    rates: Literal["steps", "outcome", "both"]
    task: Literal["token_classify", "classify"] = "token_classify"
    tag: str = ""
    labels: tuple[str, str] = ("", "")
    system: str = ""
    tokens: Mapping[str, int] = field(default_factory=dict)

    @property
    def pooling(self) -> Mapping[str, str]:
        """Settings of vLLM's pooler: all positions, because stepwise pooling would disable the prefix cache."""
        return {"tok_pooling_type": "ALL"} if self.task == "token_classify" else {}


HEAD = Recipe("head", 1, "own_ids", "sigmoid", "both")
"""A small head on the policy's hidden states, written by `checkpoint`; it reads the policy's own token ids."""

QWEN_MATH_PRM = Recipe(
    "qwen_math_prm",
    1,
    "tagged_chat",
    "softmax",
    "steps",
    tag="<extra_0>",
    system=r"Please reason step by step, and put your final answer within \boxed{}.",
    tokens={"<extra_0>": 151651},
)
"""Qwen2.5-Math-PRM-7B and -72B (Zhang 2025, 2501.07301): a tag after each step, with two labels read there."""

SKYWORK_PRM = Recipe("skywork_prm", 1, "newlines", "sigmoid", "steps")
"""Skywork-o1-Open-PRM-Qwen-2.5: a value head, converted to a `head` and read at the newline after each step."""

RLHFLOW = Recipe("rlhflow", 1, "turns", "labels", "steps", labels=("+", "-"), tokens={"+": 10, "-": 12})
"""RLHFlow's Llama3.1-8B-PRM-Mistral-Data and -Deepseek-Data: one turn per step, read where the model judges it."""

MATH_SHEPHERD = Recipe(
    "math_shepherd",
    1,
    "tagged_text",
    "labels",
    "steps",
    tag="ки",
    labels=("+", "-"),
    tokens={"ки": 12902, "+": 648, "-": 387},
)
"""Math-Shepherd-Mistral-7B-PRM (Wang 2024, 2312.08935): plain text with a tag after each step, read there."""

SEQUENCE_CLASSIFICATION = Recipe("sequence_classification", 1, "whole_chat", "sigmoid", "outcome", task="classify")
"""Any `...ForSequenceClassification` with one label: the scalar at the end of the chat.

The scalar is an unbounded preference (Bradley-Terry); its sigmoid has the same order but is not a probability.
"""

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (HEAD, QWEN_MATH_PRM, SKYWORK_PRM, RLHFLOW, MATH_SHEPHERD, SEQUENCE_CLASSIFICATION)
}

_BY_ARCHITECTURE = {"Qwen2ForProcessRewardModel": QWEN_MATH_PRM, "Qwen2ForPrmModel": SKYWORK_PRM}
_BY_NAME = {
    "qwen2.5-math-prm": QWEN_MATH_PRM,
    "skywork-o1-open-prm": SKYWORK_PRM,
    "rlhflow": RLHFLOW,
    "math-shepherd": MATH_SHEPHERD,
}


def choose(recipe: str, model: str, folder: Path | None, rates: Literal["steps", "outcome"]) -> Recipe:
    """The recipe with this name; with "auto" that of the model, by its architecture or else its name.

    Raises:
        UsageError: there is none, or it rates steps where outcomes are rated, or the reverse.
    """
    chosen = RECIPES[recipe] if recipe != "auto" else _recognise(model, folder)
    suitable = [candidate.name for candidate in RECIPES.values() if candidate.rates in (rates, "both")]
    if chosen is None:
        raise UsageError(f"no recipe is known for {model!r}: choose recipe={', '.join(suitable)}")
    if chosen.name not in suitable:
        other = "prm" if rates == "outcome" else "orm"
        raise UsageError(f"recipe {chosen.name} rates {chosen.rates}: use the verifier `{other}`")
    return chosen


def _recognise(model: str, folder: Path | None) -> Recipe | None:
    if model == "embedded" or model.endswith(".safetensors"):
        return HEAD
    if folder is not None:
        try:
            config = read_object(folder / "config.json")
        except (OSError, ValueError) as error:
            raise UsageError(f"malformed {folder / 'config.json'}: {error}") from error
        if "reasoner_head" in config:
            return HEAD
        named = config.get("architectures")
        for architecture in map(str, named if isinstance(named, list) else ()):
            if architecture in _BY_ARCHITECTURE:
                return _BY_ARCHITECTURE[architecture]
            if architecture.endswith("ForSequenceClassification"):
                return SEQUENCE_CLASSIFICATION
    return next((recipe for part, recipe in _BY_NAME.items() if part in model.lower()), None)
