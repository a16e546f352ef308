"""Likelihood: how likely the model finds an answer, without reasoning about it."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from reasoner import Completion, Cost, Prompt, Question, Rating
from reasoner.answers.choices import ChoiceSpace
from reasoner.engine import Engine, TokenIds, Usage
from reasoner.errors import VerifierError
from reasoner.specs import CheckedOptions
from reasoner.types import NO_THINKING, ONE_TOKEN
from reasoner.verifier import CostMeter, FreeVerifier, verifier_cost
from reasoner_verifiers.requests import ask

LEAD = "The answer is"


class _Text(NamedTuple):
    """A text after a prompt: without the blank before it, and its token ids."""

    prompt: Prompt
    written: str
    ids: TokenIds


@dataclass(frozen=True, slots=True)
class Likelihood(CheckedOptions, FreeVerifier):
    """Rates an answer by the probability of its text after the prompt (GPT-3: Brown 2020, 2005.14165).

    In a chat the reply begins with `The answer is`, without thinking; a raw prompt, for a base model, is continued as
    it is. `of` is what is rated of an option that a question lists: its "label" or its "text". `normalize` takes the
    root of the probability by the number of "tokens" or "characters", as long texts are less likely. What does not fit
    into the context window has no rating.

    With `best_of_n:candidates=options`, a raw prompt and "none" this is `acc` of lm-evaluation-harness, with
    "characters" `acc_norm`; "tokens" is GPT-3's. It differs from the harness: options are tokenised apart from the
    prompt, with a blank before them; "text" does not remove the options from a question that lists them; and a tie goes
    to the first option.

    It takes a request of one token for each token of the text. The engine must report log-probabilities of chosen
    tokens, as vLLM does.
    """

    of: Literal["label", "text"] = "label"
    normalize: Literal["none", "tokens", "characters"] = "none"

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        """One token after the prompt and each part of the text, with nothing cached."""
        text = await self._text(question, candidate, policy)
        tokens = (await policy.render(text.prompt)).tokens
        usages = (Usage(tokens + at, 0, 1) for at in range(len(text.ids)))
        return sum((verifier_cost(policy.model, usage) for usage in usages), Cost())

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The probability, by the chain rule."""
        text = await self._text(question, candidate, policy)
        logprobs: list[float] = []
        for at, token in enumerate(text.ids):
            reply = await ask(
                policy,
                question.id,
                text.prompt.extended("", text.ids[:at]),
                ONE_TOKEN,
                cost_meter,
                index=candidate.index,
                seed=candidate.seed,
                watch=(token,),
            )
            if reply.logprobs is None or not reply.logprobs.watched:
                raise VerifierError(
                    f"{policy.name} does not report the log-probabilities of chosen tokens"
                )
            logprobs.append(reply.logprobs.watched[0][0])
        parts = {
            "none": 1,
            "tokens": len(text.ids),
            "characters": max(1, len(text.written)),
        }
        value = math.exp(math.fsum(logprobs) / parts[self.normalize])
        if not value:
            raise VerifierError(
                "the text is too long for a probability: set normalize=tokens"
            )
        return Rating(min(1.0, value), cost_meter.cost or Cost())

    async def _text(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> _Text:
        """The text of the candidate's answer, and the prompt that it follows."""
        answer, space = question.read(candidate), question.space
        if answer is None:
            raise VerifierError("the candidate has no answer")
        written = answer.text
        if isinstance(space, ChoiceSpace):
            chosen = space.known.index(answer.key)
            written = answer.key if self.of == "label" else space.options[chosen]
        ids, lead = await policy.encode(f" {written}"), await policy.encode(LEAD)
        if not ids or not lead:
            raise VerifierError(
                f"{policy.name} gives no access to its tokenizer: use vLLM, in this process or as a server"
            )
        prompt = question.prompt
        if not prompt.raw:
            prompt = prompt.at_level(NO_THINKING).extended(LEAD, lead)
        return _Text(prompt, written, ids)
