"""An engine whose every next-token probability is known, so that what a text weighs can be worked out by hand."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

from reasoner.answers.questions import Question
from reasoner.engine import SampleRequest
from reasoner.strategy import LogLikelihood, Plan, TextLikelihood
from reasoner.testing.scripted import ScriptedEngine
from reasoner.types import Answer, Completion, Logprobs, Prompt, TokenIds

LETTERS = "abcd"


def chances(before: TokenIds) -> dict[int, float]:
    """The probability of each letter after these ids; together 1."""
    raw = [
        hashlib.blake2b(f"{before} {letter}".encode(), digest_size=2).digest()
        for letter in LETTERS
    ]
    weights = [1 + int.from_bytes(one, "big") for one in raw]
    return {
        ord(letter): one / sum(weights)
        for letter, one in zip(LETTERS, weights, strict=True)
    }


class Known(ScriptedEngine):
    """Spells a text letter by letter, and tells of each watched token what `chances` says, or nothing like it."""

    asked: Sequence[SampleRequest] = ()

    async def encode(self, text: str) -> TokenIds | None:
        return tuple(map(ord, text))

    async def sample(self, request: SampleRequest) -> Completion:
        self.asked = [*self.asked, request]
        drawn = await ScriptedEngine.sample(self, request)
        if not request.watch:
            return drawn
        known = chances(request.rendered.token_ids or ())
        row = tuple(math.log(known.get(token, 1e-9)) for token in request.watch)
        return replace(drawn, logprobs=Logprobs((0.0,), watched=(row,)))


def by_hand(before: TokenIds, text: str) -> float:
    """The log-probability of a text, letter by letter."""
    ids = (*before, *map(ord, text))
    return math.fsum(
        math.log(chances(ids[:place])[ids[place]])
        for place in range(len(before), len(ids))
    )


class Asking:
    """A plan that weighs texts once and keeps the reply."""

    def __init__(self, *texts: str, prompt: Prompt | None = None) -> None:
        self.texts, self.prompt = texts, prompt
        self.reply: tuple[TextLikelihood | None, ...] | None = None

    def __call__(self, question: Question) -> Plan[Answer | None]:
        self.reply = yield LogLikelihood(self.prompt or question.prompt, self.texts)
        return None
