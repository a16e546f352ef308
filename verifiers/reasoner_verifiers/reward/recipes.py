"""The supported families of reward models, one recipe each: the tokens that they read, and where a step is rated."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from reasoner import Completion, Prompt, Question
from reasoner.engine import Engine, TokenIds
from reasoner.engines.vllm.parts import CONTEXT
from reasoner.engines.vllm.pooling import PoolingEngine
from reasoner.errors import UsageError, VerifierError
from reasoner.models.thinking import split
from reasoner.system.files import read_object
from reasoner.types import Message, Part


@dataclass(frozen=True, slots=True)
class Recipe:
    """One family of reward models.

    `layout` says how a candidate becomes tokens and where they are read (see `lay`). `reading` says how a score is
    computed: the "sigmoid" of one scalar, or the "softmax" of two labels, for the second one. `tokens` maps texts to
    the token ids that they must have.
    """

    name: str
    layout: Literal["own_ids", "tagged_chat", "whole_chat"]
    reading: Literal["sigmoid", "softmax"]
    rates: Literal["steps", "outcome", "both"]
    task: Literal["token_classify", "classify"] = "token_classify"
    tag: str = ""
    system: str = ""
    tokens: Mapping[str, int] = field(default_factory=dict)

    @property
    def pooling(self) -> Mapping[str, str]:
        """Settings of vLLM's pooler: all positions, because stepwise pooling would disable the prefix cache."""
        return {"tok_pooling_type": "ALL"} if self.task == "token_classify" else {}


HEAD = Recipe("head", "own_ids", "sigmoid", "both")
"""A small head on the policy's hidden states, written by `checkpoint`; it reads the policy's own token ids."""

QWEN_MATH_PRM = Recipe(
    "qwen_math_prm",
    "tagged_chat",
    "softmax",
    "steps",
    tag="<extra_0>",
    system=r"Please reason step by step, and put your final answer within \boxed{}.",
    tokens={"<extra_0>": 151651},
)
"""Qwen2.5-Math-PRM-7B and -72B (Zhang 2025, 2501.07301): a tag after each step, with two labels read there."""

SEQUENCE_CLASSIFICATION = Recipe(
    "sequence_classification", "whole_chat", "sigmoid", "outcome", task="classify"
)
"""Any `...ForSequenceClassification` with one label: the scalar at the end of the chat.

The scalar is an unbounded preference (Bradley-Terry); its sigmoid has the same order but is not a probability.
"""

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (HEAD, QWEN_MATH_PRM, SEQUENCE_CLASSIFICATION)
}
_BY_ARCHITECTURE = {"Qwen2ForProcessRewardModel": QWEN_MATH_PRM}


def choose(
    recipe: str, model: str, folder: Path | None, rates: Literal["steps", "outcome"]
) -> Recipe:
    """The recipe with this name; with "auto" the model's, by its architecture or else its name."""
    chosen = RECIPES[recipe] if recipe != "auto" else _recognise(model, folder)
    suitable = [
        candidate.name
        for candidate in RECIPES.values()
        if candidate.rates in (rates, "both")
    ]
    if chosen is None:
        raise UsageError(
            f"no recipe is known for {model!r}: choose recipe={', '.join(suitable)}"
        )
    if chosen.name not in suitable:
        other = "prm" if rates == "outcome" else "orm"
        raise UsageError(
            f"recipe {chosen.name} rates {chosen.rates}: use the verifier `{other}`"
        )
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
    return QWEN_MATH_PRM if "qwen2.5-math-prm" in model.lower() else None


class RewardInput(NamedTuple):
    """Token ids, up to the last position, and the positions of the scores, one per step."""

    ids: TokenIds
    positions: tuple[int, ...]


class Case(NamedTuple):
    """A candidate, its question, and the separator of its steps; "" if the whole candidate is one step.

    `policy` is the engine that gave the token ids to read; None if the reward model tokenizes text itself. `part` is
    what is read of a candidate if the model thinks.
    """

    question: Question
    candidate: Completion
    separator: str
    policy: Engine | None
    part: Part = "final"


async def lay(recipe: Recipe, engine: PoolingEngine, case: Case) -> RewardInput:
    """The input of the reward model for a candidate, by the layout of the recipe.

    Raises:
        VerifierError: it has no steps, holds the recipe's tag, or has not one position per step.
    """
    text, question = case.candidate.chain_of(case.part), case.question.text
    # Without blank ones; an incomplete last one is a step.
    parts = text.split(case.separator) if case.separator else [text]
    steps = tuple(part.strip() for part in parts if part.strip())
    if recipe.tag and any(recipe.tag in text for text in (question, *steps)):
        raise VerifierError(
            f"{recipe.tag!r}, the tag of {recipe.name}, occurs in the question or in a step"
        )
    if recipe.layout == "own_ids":
        return await _own_ids(engine, case)
    if not steps:
        raise VerifierError("the candidate has no steps: nothing was generated")
    if recipe.layout == "tagged_chat":
        laid = await _tagged_chat(recipe, engine, question, steps)
    else:
        # The chat that the policy saw and the whole reply, read at its end.
        messages = case.candidate.prompt.messages or (Message("user", question),)
        ids = await engine.render(Prompt((*messages, Message("assistant", text))))
        laid = RewardInput(ids, (len(ids) - 1,))
    if len(laid.positions) != len(steps):
        raise VerifierError(
            f"{recipe.name} found {len(laid.positions)} positions for {len(steps)} steps"
        )
    return laid


async def _own_ids(engine: PoolingEngine, case: Case) -> RewardInput:
    """The policy's own token ids, without end-of-sequence; a step is read at the token that ends its separator."""
    prompt, separator = case.candidate.prompt, case.separator
    bare = replace(prompt, token_ids=(), text="", thinking="")
    rendered = await case.policy.render(bare) if case.policy else None
    if case.policy and rendered is not None and rendered.token_ids is not None:
        head, generated = (
            rendered.token_ids,
            prompt.token_ids + case.candidate.continuation,
        )
        if profile := case.policy.model.thinking:
            # Thinking is a prefix: where this step has some, all before it is thinking.
            thought = case.candidate.usage.thinking_tokens + len(prompt.token_ids)
            if not case.candidate.usage.thinking_tokens:
                thought = split(
                    prompt.token_ids, profile, opened=rendered.in_thinking
                ).thinking
            generated = {
                "final": generated[thought:],
                "thinking": generated[:thought],
                "all": generated,
            }[case.part]
    else:
        head = await engine.render(bare, reply=True)
        generated = await engine.encode(case.candidate.chain_of(case.part))
    ids = head + generated
    if not separator:
        return RewardInput(ids, (len(ids) - 1,))
    positions = [
        len(head) + end for end in step_ends(generated, engine.decode, separator)
    ]
    if not positions:
        raise VerifierError("the candidate has no steps: nothing was generated")
    return RewardInput(ids[: positions[-1] + 1], tuple(positions))


def step_ends(
    generated: TokenIds, decode: Callable[[TokenIds], str], separator: str
) -> tuple[int, ...]:
    """The position of the token that ends each step, found by decoding; no text is tokenized again.

    A step is decoded after the last tokens before it, so that all steps cost no more than a few times their tokens.
    """
    text, ends, begin = decode(generated), [], 0
    while (at := text.find(separator, begin)) >= 0:
        if text[begin:at].strip():
            ends.append(at + len(separator))
        begin = at + len(separator)
    if text[begin:].strip():
        ends.append(len(text))
    positions, first, known, final = list[int](), 0, 0, len(generated) - 1
    for end in ends:
        if end > known:
            start = max(0, first - CONTEXT)
            before = known - len(decode(generated[start:first]))
            characters = partial(_characters, generated, decode, start, before)
            last = first
            while last < final and characters(last) < end:
                last = min(2 * last - first + 1, final)
            position = bisect_left(
                range(len(generated)), end, first, last, key=characters
            )
            first, known = position + 1, characters(position)
        positions.append(first - 1)
    return tuple(positions)


def _characters(
    generated: TokenIds,
    decode: Callable[[TokenIds], str],
    start: int,
    before: int,
    position: int,
) -> int:
    """The characters up to a token; `before` counts those before the token at `start`."""
    return before + len(decode(generated[start : position + 1]))


async def _tagged_chat(
    recipe: Recipe, engine: PoolingEngine, question: str, steps: Sequence[str]
) -> RewardInput:
    """A chat with the steps as its reply, each followed by the tag; read at the tags."""
    reply = "".join(step + recipe.tag for step in steps)
    turns = (
        Message("system", recipe.system),
        Message("user", question),
        Message("assistant", reply),
    )
    ids = await engine.render(Prompt(turns))
    positions = tuple(
        at for at, token in enumerate(ids) if token == recipe.tokens[recipe.tag]
    )
    return RewardInput(ids[: positions[-1] + 1] if positions else ids, positions)
