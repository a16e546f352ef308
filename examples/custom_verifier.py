"""A verifier of your own: it prefers short replies. Runs without a model."""

from dataclasses import dataclass

from reasoner import Completion, Cost, Question, Rating, solve_sync
from reasoner.engine import Engine
from reasoner.verifier import CostMeter, FreeVerifier


@dataclass(frozen=True, slots=True)
class Brevity(FreeVerifier):
    """Rates a reply by its length: 1 for 0 tokens, 0.5 for `half` tokens. It uses no model, so it costs nothing."""

    half: int = 50
    logprobs: None = None

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The rating; raise an error if there is none, never return 0 instead."""
        return Rating(
            self.half / (self.half + candidate.usage.generated_tokens), Cost()
        )


if __name__ == "__main__":
    print(
        solve_sync("What is 3 + 4?", "best_of_n:n=8", "simulated", verifier=Brevity())
    )
