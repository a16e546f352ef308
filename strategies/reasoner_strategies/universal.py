"""Universal self-consistency: the model reads all responses and names the most consistent one."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.specs import CheckedOptions, Samples
from reasoner.strategy import Plan, sample
from reasoner.types import NO_THINKING
from reasoner_strategies._prompts import with_text, without_reply
from reasoner_strategies._voting.pool import proposed, vote
from reasoner_strategies._voting.self_comparison import (
    Candidate,
    by_points,
    listed,
    polled,
)

CHOOSING = SamplingParams(temperature=0.0, max_tokens=64)
"""The choice is greedy and short, as the number is asked for first."""
MAX_SHOWN = 24_000
"""The maximum of characters of all responses that are shown."""
_CUED = re.compile(
    r"(?i)most consistent response is[^\w-]{0,6}(?:response[^\w-]{0,4})?(\d{1,4})\b"
)
_ALONE = re.compile(r"(?i)[^\w-]{0,6}(?:response[^\w-]{0,4})?(\d{1,4})\b(?=\W*$)")


@dataclass(frozen=True, slots=True)
class Universal(CheckedOptions):
    """The reply that the model finds most consistent with all (USC: Chen 2023, 2311.17311).

    For answers that differ in wording, where counting equal ones says little. `n` responses are drawn; those with an
    answer are shown in full, in an order that depends on the question's id. A response that does not fit into 24,000
    characters in all is left out, never cut; the prompt costs about n times a response. The majority decides if the
    reply names no response, or if all answers are of one class, which costs no request. `params` draw the responses;
    the choice is greedy, without thinking, and at most 64 tokens long.

    In the vote state, the weight of a class is 1 if it was chosen plus, below 1, its share of the votes.
    """

    listed_under: ClassVar[str] = "Choice among samples"
    uses_verifier: ClassVar[bool] = False
    free_form: ClassVar[bool] = True

    n: Samples = 8
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, ask which response is the most consistent."""
        drawn = yield from sample(question.prompt, n=self.n, params=self.params)
        majority = yield from proposed(vote(question, drawn))
        shown = fitting(question, drawn) if len(majority.votes) > 1 else ()
        if len(shown) < 2:
            return majority.leader
        [chosen] = yield from polled(
            [(choice_prompt(question, shown), shown)], named, CHOOSING
        )
        return (
            yield from by_points(question, drawn, {chosen.index: 1} if chosen else {})
        ).leader


def fitting(question: Question, drawn: Sequence[Completion]) -> tuple[Candidate, ...]:
    """The responses with an answer that fit, in random order."""
    entered = [
        Candidate(index, index, completion.chain.strip())
        for index, completion in enumerate(drawn)
        if question.read(completion)
    ]
    left, shown = MAX_SHOWN, []
    for candidate in random.Random(question.id).sample(entered, len(entered)):
        if len(candidate.text) <= left:
            left -= len(candidate.text)
            shown.append(candidate)
    return tuple(shown)


def choice_prompt(question: Question, shown: Sequence[Candidate]) -> Prompt:
    """The question, the responses, and what to say about them, in the paper's words, without thinking."""
    return with_text(
        without_reply(question.prompt).at_level(NO_THINKING),
        "I have generated the following responses to the question above.\n\n"
        f"{listed('Response', range(1, len(shown) + 1), shown)}\n\nEvaluate these responses. Select the most "
        "consistent response based on majority consensus. Start your answer with "
        '"The most consistent response is Response X", where X is its number.',
    )


def named(reply: Completion, size: int) -> int | None:
    """Which of `size` responses a reply names, from 0; a number at the very end of a cut reply may be half of one."""
    match = _CUED.search(reply.text) or _ALONE.match(reply.text)
    if match is None or (reply.truncated and match.end() == len(reply.text)):
        return None
    return int(match[1]) - 1 if 1 <= int(match[1]) <= size else None
