"""Universal self-consistency: the model reads all responses and names the most consistent one."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from reasoner.answers.questions import Question
from reasoner.specs import Checked, Length, Range, Samples
from reasoner.strategy import Plan, sample
from reasoner.types import NO_THINKING, Answer, Completion, Prompt, SamplingParams
from reasoner_strategies._prompts import with_text, without_reply
from reasoner_strategies._voting.pool import proposed, vote
from reasoner_strategies._voting.self_comparison import Ballot, Candidate, by_points, listed, polled

CHOOSING = SamplingParams(temperature=0.0, max_tokens=64)
"""The choices are greedy and short, as the number is asked for first."""
_CUED = re.compile(r"(?i)most consistent response is[^\w-]{0,6}(?:response[^\w-]{0,4})?(\d{1,4})\b")
_ALONE = re.compile(r"(?i)[^\w-]{0,6}(?:response[^\w-]{0,4})?(\d{1,4})\b(?=\W*$)")


@dataclass(frozen=True, slots=True)
class Universal(Checked):
    """The response that the model finds most consistent with the others (USC: Chen 2023, 2311.17311).

    For answers that differ in wording, where counting equal ones says little. `n` responses are drawn; those with an
    answer are shown in full, shuffled for each of `repeats` requests in an order that depends on the question's id. A
    response that does not fit into `max_characters` in all is left out, never cut; the prompt costs about n times a
    response. Choices count as votes for a response's class of answers, and ties go to the majority. The majority
    decides alone if no reply names a response, or if all answers are of one class, which costs no request. `params`
    draw the responses; the choices are greedy, without thinking, and at most 64 tokens long.

    In the vote state, the weight of a class is the choices it got plus, below 1, its share of the votes.
    """

    uses_verifier: ClassVar[bool] = False
    free_form: ClassVar[bool] = True

    n: Samples = 8
    repeats: Samples = 1
    max_characters: Annotated[Length, Range(at_least=1)] = 24_000
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, ask which response is the most consistent."""
        drawn = yield from sample(question.prompt, n=self.n, params=self.params)
        majority = yield from proposed(vote(question, drawn))
        ballots = list(self._ballots(question, drawn)) if len(majority.votes) > 1 else []
        if not ballots:
            return majority.leader
        chosen = yield from polled(ballots, named, CHOOSING)
        return (yield from by_points(question, drawn, chosen[0])).leader

    def _ballots(self, question: Question, drawn: Sequence[Completion]) -> list[Ballot]:
        entered = [
            Candidate(index, index, completion.chain.strip())
            for index, completion in enumerate(drawn)
            if question.read(completion)
        ]
        ballots = []
        for repeat in range(self.repeats):
            order = random.Random(f"{question.id}/{repeat}").sample(entered, len(entered))
            fitting = tuple(self._fitting(order))
            if len(fitting) > 1:
                ballots.append(Ballot(0, fitting, choice_prompt(question, fitting)))
        return ballots

    def _fitting(self, order: Sequence[Candidate]) -> list[Candidate]:
        left, fitting = self.max_characters, []
        for candidate in order:
            if len(candidate.text) <= left:
                left -= len(candidate.text)
                fitting.append(candidate)
        return fitting


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
    """Which of so many responses a reply names; a number at the very end of a cut reply may be half of one."""
    match = _CUED.search(reply.text) or _ALONE.match(reply.text)
    if match is None or (reply.truncated and match.end() == len(reply.text)):
        return None
    return int(match[1]) - 1 if 1 <= int(match[1]) <= size else None
