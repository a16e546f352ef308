"""Room in one budget that is kept for the first sample of each of many questions, so that none is starved."""

from dataclasses import dataclass, field

from reasoner.admission import Floor
from reasoner.budget import MIN_USEFUL_TOKENS, UNITS, Budget, Cost, Ledger
from reasoner.errors import BudgetExhausted, EngineError
from reasoner.types import Usage
from reasoner.work import Worker

LONGEST_FLOOR = 4096
"""Tokens beyond which no room is kept for a first sample before it is asked for."""


@dataclass(slots=True)
class Floors:
    """Half an equal share for each of so many questions, or what is just useful where that is more.

    The other half lets first samples be as long as they may, most of which need less. For questions that are not open
    yet their shares are kept together, as one number. Where the budget is too small for all, the first questions have
    theirs.
    """

    run: Ledger
    questions: int
    _share: Budget = field(init=False)
    _kept: int = field(init=False)
    _short: bool = False

    def __post_init__(self) -> None:
        self._share = self.run.budget.divided(2 * max(self.questions, 1))
        limits = [(getattr(self._share, unit), getattr(self.run.budget, unit)) for unit in UNITS]
        self._keep(min((int(limit // share) for share, limit in limits if share), default=0))

    def _keep(self, shares: int) -> None:
        self._kept = max(0, min(shares, self.questions))
        self.run.keep(self._share, self._kept)

    async def hold(self, worker: Worker) -> None:
        """Hold the next question's room until its first operation, instead of the share that was kept for it."""
        self.questions -= 1
        if self._short:
            return
        try:
            rendered = await worker.render(worker.question.prompt)
        except EngineError:
            # The question will meet with it too, and there it is its error.
            self._keep(self._kept)
            return

        def price(tokens: int) -> Cost:
            return worker.cost(Usage(rendered.tokens, 0, tokens))

        try:
            tokens = Ledger(self._share, prices=self.run.prices).fit(price, most=LONGEST_FLOOR)
        except BudgetExhausted:
            tokens = MIN_USEFUL_TOKENS
        self._keep(self._kept)
        while self._kept and self.run.shortfall(price(tokens)):
            self._keep(self._kept - 1)
        try:
            worker.admission.floor = Floor(self.run, price(tokens))
        except BudgetExhausted:
            self._short = True
