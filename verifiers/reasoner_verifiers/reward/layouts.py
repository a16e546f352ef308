"""Turns a candidate into the tokens that a reward model reads, and the positions at which each step is rated."""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from reasoner.answers.questions import Question
from reasoner.engine import Engine
from reasoner.errors import VerifierError
from reasoner.models.thinking import split
from reasoner.types import Completion, Message, Part, Prompt, TokenIds
from reasoner_verifiers.reward.recipes import Layout, Recipe


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
