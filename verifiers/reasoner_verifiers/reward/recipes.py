"""The supported families of reward models, one recipe each: the tokens that they read, and where a step is rated."""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from reasoner.answers.questions import Question
from reasoner.engine import Engine
from reasoner.errors import UsageError, VerifierError
from reasoner.models.thinking import split
from reasoner.system.files import read_object
from reasoner.types import Completion, Message, Part, Prompt, TokenIds

Layout = Literal["own_ids", "tagged_chat", "newlines", "turns", "tagged_text", "whole_chat"]
Reading = Literal["sigmoid", "softmax", "labels"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One family of reward models. If a score changes its meaning, `version` changes, and cached scores are not used.

    `layout` says how a candidate becomes tokens and where they are read (see `lay`). `reading` says how a score is
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


class RewardInput(NamedTuple):
    """Token ids, up to the last position, and the positions of the scores, one per step."""

    ids: TokenIds
    positions: tuple[int, ...]


class Reader(Protocol):
    """The tokenizer and the chat template of a reward model."""

    @property
    def bos(self) -> str:
        """The text of its beginning-of-sequence token; "" if it has none."""

    async def render(self, prompt: Prompt, *, reply: bool = False) -> TokenIds:
        """The ids of a chat or a raw text; with `reply`, the next turn is opened."""

    async def encode(self, text: str) -> TokenIds:
        """The ids of a text, without added special tokens."""

    def decode(self, ids: TokenIds) -> str:
        """The text of token ids, special tokens included."""


class Case(NamedTuple):
    """A candidate, its question, and the separator of its steps; "" if the whole candidate is one step.

    `policy` is the engine whose token ids the reward model reads; None if it tokenizes text itself. `part` is what it
    reads of a candidate whose model thinks.
    """

    question: Question
    candidate: Completion
    separator: str
    policy: Engine | None
    part: Part = "final"


def steps_of(text: str, separator: str) -> tuple[str, ...]:
    """The steps of a chain, without blank ones; an incomplete last one is a step."""
    parts = text.split(separator) if separator else [text]
    return tuple(part.strip() for part in parts if part.strip())


class _Sheet(NamedTuple):
    """The input of a layout of text."""

    recipe: Recipe
    reader: Reader
    candidate: Completion
    text: str
    question: str
    steps: tuple[str, ...]


async def lay(recipe: Recipe, reader: Reader, case: Case) -> RewardInput:
    """The input of the reward model for a candidate, by the layout of the recipe.

    Raises:
        VerifierError: it has no steps, holds the recipe's tag, or has not one position per step.
    """
    text = case.candidate.chain_of(case.part)
    steps = steps_of(text, case.separator)
    if recipe.tag and any(recipe.tag in text for text in (case.question.text, *steps)):
        raise VerifierError(f"{recipe.tag!r}, the tag of {recipe.name}, occurs in the question or in a step")
    if recipe.layout == "own_ids":
        return await _own_ids(reader, case)
    if not steps:
        raise VerifierError("the candidate has no steps: nothing was generated")
    laid = await _LAYOUTS[recipe.layout](_Sheet(recipe, reader, case.candidate, text, case.question.text, steps))
    if len(laid.positions) != len(steps):
        raise VerifierError(f"{recipe.name} found {len(laid.positions)} positions for {len(steps)} steps")
    return laid


async def _own_ids(reader: Reader, case: Case) -> RewardInput:
    """The policy's own token ids, without end-of-sequence; a step is read at the token that ends its separator."""
    prompt, separator = case.candidate.prompt, case.separator
    bare = replace(prompt, token_ids=(), text="", thinking="")
    rendered = await case.policy.render(bare) if case.policy else None
    if case.policy and rendered is not None and rendered.token_ids is not None:
        head, generated = rendered.token_ids, prompt.token_ids + case.candidate.continuation
        if profile := case.policy.model.thinking:
            # Thinking is a prefix: where this step has some, all before it is thinking.
            thought = case.candidate.usage.thinking_tokens + len(prompt.token_ids)
            if not case.candidate.usage.thinking_tokens:
                thought = split(prompt.token_ids, profile, opened=rendered.in_thinking).thinking
            generated = {"final": generated[thought:], "thinking": generated[:thought], "all": generated}[case.part]
    else:
        head = await reader.render(bare, reply=True)
        generated = await reader.encode(case.candidate.chain_of(case.part))
    ids = head + generated
    if not separator:
        return RewardInput(ids, (len(ids) - 1,))
    positions = [len(head) + end for end in step_ends(generated, reader.decode, separator)]
    if not positions:
        raise VerifierError("the candidate has no steps: nothing was generated")
    return RewardInput(ids[: positions[-1] + 1], tuple(positions))


def step_ends(generated: TokenIds, decode: Callable[[TokenIds], str], separator: str) -> tuple[int, ...]:
    """The position of the token that ends each step, found by decoding prefixes; no text is tokenized again."""
    text, ends, begin = decode(generated), [], 0
    while (at := text.find(separator, begin)) >= 0:
        if text[begin:at].strip():
            ends.append(at + len(separator))
        begin = at + len(separator)
    if text[begin:].strip():
        ends.append(len(text))
    tokens = range(len(generated))
    return tuple(bisect_left(tokens, end, key=lambda at: len(decode(generated[: at + 1]))) for end in ends)


async def _tagged_chat(sheet: _Sheet) -> RewardInput:
    """A chat whose reply is the steps, each followed by the tag; read at the tags."""
    reply = "".join(step + sheet.recipe.tag for step in sheet.steps)
    system, user = Message("system", sheet.recipe.system), Message("user", sheet.question)
    ids = await sheet.reader.render(Prompt((system, user, Message("assistant", reply))))
    return _at_tags(ids, sheet.recipe)


def _at_tags(ids: TokenIds, recipe: Recipe) -> RewardInput:
    positions = tuple(at for at, token in enumerate(ids) if token == recipe.tokens[recipe.tag])
    return RewardInput(ids[: positions[-1] + 1] if positions else ids, positions)


async def _newlines(sheet: _Sheet) -> RewardInput:
    """The question, then the steps, each tokenized alone and followed by a newline token; read at these."""
    ids = await sheet.reader.encode(f"{sheet.reader.bos}{sheet.question}\n")
    newline = (await sheet.reader.encode("\n"))[-1:]
    positions = []
    for step in sheet.steps:
        ids += await sheet.reader.encode(step) + newline
        positions.append(len(ids) - 1)
    return RewardInput(ids, tuple(positions))


async def _turns(sheet: _Sheet) -> RewardInput:
    """A chat in which each step is a turn whose answer is the first label; read at the position before the answer."""
    turns: tuple[Message, ...] = ()
    ids: TokenIds = ()
    positions = []
    for number, step in enumerate(sheet.steps):
        turns += (Message("user", step if number else f"{sheet.question} {step}"),)
        longer = await sheet.reader.render(Prompt(turns), reply=True)
        if longer[: len(ids)] != ids:
            name = sheet.recipe.name
            raise VerifierError(f"the chat template of this model changes earlier turns: {name} cannot use it")
        ids = longer
        positions.append(len(ids) - 1)
        turns += (Message("assistant", sheet.recipe.labels[0]),)
    return RewardInput(ids, tuple(positions))


async def _tagged_text(sheet: _Sheet) -> RewardInput:
    """Numbered lines of plain text, each followed by the tag; read at the tags."""
    lines = [
        f"{step if step.startswith('Step ') else f'Step {number}: {step}'} {sheet.recipe.tag}"
        for number, step in enumerate(sheet.steps, 1)
    ]
    ids = await sheet.reader.render(Prompt(raw=f"{sheet.question} " + "\n".join(lines)))
    return _at_tags(ids, sheet.recipe)


async def _whole_chat(sheet: _Sheet) -> RewardInput:
    """The chat that the policy saw and the whole reply; read at its end."""
    messages = sheet.candidate.prompt.messages or (Message("user", sheet.question),)
    ids = await sheet.reader.render(Prompt((*messages, Message("assistant", sheet.text))))
    return RewardInput(ids, (len(ids) - 1,))


_LAYOUTS: Mapping[Layout, Callable[[_Sheet], Awaitable[RewardInput]]] = {
    "tagged_chat": _tagged_chat,
    "newlines": _newlines,
    "turns": _turns,
    "tagged_text": _tagged_text,
    "whole_chat": _whole_chat,
}
