"""How a kind of puzzle is solved in small steps that a model proposes and judges, as tree of thoughts does."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ThoughtPrompts:
    """The requests for one puzzle, as an attribute `thoughts` of its answer space.

    `start` is what there is to solve, and `rest` a pattern whose first group is what a step leaves of it. Where
    it leaves `done`, the answer follows. `propose` asks for the next steps, one a line, and `value` for a judgement of
    what is left, `{rest}` in both; `judge` asks for one of the `{answer}`. Judgements end in a line that is "sure",
    "likely" or "impossible".
    """

    start: str
    rest: str
    done: str
    propose: str
    value: str
    judge: str

    def rest_of(self, state: str) -> str:
        """What the steps of a state leave; `start` before the first."""
        left = re.findall(self.rest, state)
        return left[-1].strip() if left else self.start

    def steps_in(self, reply: str) -> list[str]:
        """The lines of a reply that are steps."""
        return [
            line.strip() for line in reply.splitlines() if re.search(self.rest, line)
        ]
