"""The law of simulated chains of thought, and what engines without a model reply to a probe.

The numbers of the law are fitted to 3,840 chains of Qwen3-8B on AIME 2024 by `bench/fit_chains.py`.
"""

import math
import random
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

from reasoner.models.thinking import first_stop
from reasoner.types import Prompt, SamplingParams

PROBE_TOKENS: Final = 20
"""What a probe costs where no model counts its tokens: those that it forces, and its answer."""
_NORMAL: Final = NormalDist()


class Chain(NamedTuple):
    """A chain of thought: its length in tokens, whether it ends right, and from which token on it knows its answer."""

    tokens: int
    right: bool
    knows: float


class ChainQuestion(NamedTuple):
    """A question: the median length in tokens of chains that end right, and the chance that one does."""

    tokens: float
    chance: float


@dataclass(frozen=True, slots=True)
class ChainLaw:
    """The lengths of chains and their chances.

    A question has a difficulty z, normal with mean 0 and deviation 1. Its right chains have a median of `tokens` times
    exp(`between` z) tokens, log-normal with sigma `within`; wrong ones are `wrong` times as long. A chain ends right
    with a chance that is normal in probits: its deviation is `spread`, its correlation with z is -`tie`, and its mean
    over questions is `accuracy`. A chain has its last answer by a share x of its length with probability x squared.
    """

    tokens: float
    accuracy: float
    between: float = 0.5
    within: float = 0.3
    wrong: float = 1.6
    spread: float = 3.0
    tie: float = 0.6

    def question(self, name: str) -> ChainQuestion:
        """The question with this name, such as its id; a name has always the same."""
        source = random.Random(name)
        hard = source.gauss(0, 1)
        other = self.tie * hard + math.sqrt(1 - self.tie**2) * source.gauss(0, 1)
        chance = self.accuracy
        if 0 < chance < 1:
            mean = math.hypot(1, self.spread) * _NORMAL.inv_cdf(chance)
            chance = _NORMAL.cdf(mean - self.spread * other)
        return ChainQuestion(self.tokens * math.exp(self.between * hard), chance)

    def chain(self, question: ChainQuestion, number: int) -> Chain:
        """The chain with this number."""
        source = random.Random(number)
        right = source.random() < question.chance
        tokens = (
            question.tokens
            * source.lognormvariate(0, self.within)
            * (1 if right else self.wrong)
        )
        return Chain(math.ceil(tokens), right, tokens * math.sqrt(source.random()))


def probe_reply(answer: str, prompt: Prompt, params: SamplingParams) -> tuple[str, str]:
    """How a probe of this prompt is answered: the text, and the stop string that ended it; both may be ""."""
    text = f"{answer}}}" if prompt.text.endswith("{") else rf" \boxed{{{answer}}}"
    stop = first_stop(text, params.stop)
    return text.partition(stop)[0] if stop else text, stop
