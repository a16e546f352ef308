"""Likelihood: the answer with the highest probability under the model, without drawing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

from reasoner import Answer, Question, SamplingParams, Vote, VoteState
from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.texts import YesNoSpace
from reasoner.specs import CheckedOptions, Samples
from reasoner.strategy import Plan, loglikelihood, note, prefill, propose, sample
from reasoner.types import NO_THINKING
from reasoner_strategies._voting.pool import proposed, softmax, vote

RULE = "likelihood"
"""The reading rule of an answer that was not read from a text."""


class Option(NamedTuple):
    """An answer to rate, and its text after the prompt, without the blank before it."""

    vote: Vote
    written: str


@dataclass(frozen=True, slots=True)
class Likelihood(CheckedOptions):
    """The likeliest option, or the likeliest of `n` answers (GPT-3: Brown 2020, 2005.14165).

    Each option is rated by the log-probability of its text after the prompt; nothing is drawn, and the model does not
    reason first. `score` rates an option's "label" or its "text"; for yes or no both are the word. `normalize` divides
    by the number of its "tokens" or "characters", as long texts are less likely. In a chat the reply begins with
    `The answer is`; a raw prompt, for a base model, is continued as it is.

    With a raw prompt and "none" this is `acc` of lm-evaluation-harness, with "characters" `acc_norm`; "tokens" is
    GPT-3's. It differs from the harness: options are tokenised apart from the prompt, with a blank before them; "text"
    does not remove the options from a question that lists them; and a tie goes to the first option.

    For a question without options, the answers of `n` samples, drawn with `params`, are the candidates: the first text
    of each class. With fewer than two of them nothing is rated. The weights of the vote state are the softmax of their
    values; without `normalize` these are their probabilities given that it is one of them. What does not fit into the
    context window has no weight. The engine must report log-probabilities of given tokens: here only vLLM does.
    """

    listed_under: ClassVar[str] = "Choice among samples"
    uses_verifier: ClassVar[bool] = False

    score: Literal["label", "text"] = "label"
    normalize: Literal["none", "tokens", "characters"] = "none"
    n: Samples = 8
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Take the options, or draw and propose the majority; propose the likeliest."""
        options, vote_state = self._listed(question), VoteState()
        if not options:
            drawn = yield from sample(question.prompt, n=self.n, params=self.params)
            vote_state = yield from proposed(vote(question, drawn))
            options = [Option(each, each.answer.text) for each in vote_state.votes]
            if len(options) < 2:
                return vote_state.leader
        prompt = question.prompt
        if not prompt.raw:
            prompt = yield from prefill(prompt.at_level(NO_THINKING), "The answer is")
        likelihoods = yield from loglikelihood(
            prompt, [f" {option.written}" for option in options]
        )
        values = [
            text.logprob
            / {"none": 1, "tokens": text.tokens, "characters": max(1, len(written))}[
                self.normalize
            ]
            if text
            else None
            for (_, written), text in zip(options, likelihoods, strict=True)
        ]
        if left_out := values.count(None):
            yield from note(
                f"{left_out} of {len(values)} answers do not fit the context window and were left out"
            )
        if left_out == len(values):
            return vote_state.leader
        vote_state = ranked(options, values, samples=vote_state.samples)
        yield from propose(vote_state.leader, vote_state)
        return vote_state.leader

    def _listed(self, question: Question) -> list[Option]:
        """The options that a question lists."""
        space, texts = question.space, dict[str, str]()
        if isinstance(space, ChoiceSpace):
            texts = dict(
                zip(
                    space.known,
                    space.known if self.score == "label" else space.options,
                    strict=True,
                )
            )
        elif isinstance(space, YesNoSpace):
            texts = {"yes": "yes", "no": "no"}
        return [
            Option(Vote(Answer(label, label, RULE), 0.0, 0), text)
            for label, text in texts.items()
        ]


def ranked(
    options: Sequence[Option], values: Sequence[float | None], *, samples: int
) -> VoteState:
    """The likeliest first, weighted by the softmax; ties in the order of the options."""
    votes = [
        replace(option.vote, weight=weight)
        for option, weight in zip(options, softmax(values), strict=True)
    ]
    votes.sort(key=lambda each: -each.weight)
    return VoteState(
        tuple(votes),
        samples,
        tied=len(votes) > 1 and votes[0].weight == votes[1].weight,
    )
