"""One run with everything that a report shows, and its page: made once."""

from typing import NamedTuple

import pytest

from reasoner_evals.report.build import make_report
from reasoner_evals.report.content import EvalReport, TaskReport
from reasoner_evals.report.drawing import Figure
from reasoner_evals.report.figures import report_figures
from reasoner_evals.report.page import page
from tests.evals.fabricated import BEST, GREEDY, VOTE, Fake, Law, fabricate
from tests.evals.report.pages import Parsed, parsed

SEARCH = Fake("beam_search:n=4", replies=4, budget="tokens=1000")
SURE = Fake(
    "auto",
    replies=5,
    ends=("rule", "price", "budget", "strategy"),
    law=Law(a=3.0, b=3.0),
    sure=Law(a=8.0, b=2.0),
)
ARMS = (GREEDY, VOTE, BEST, SEARCH, SURE)


class Made(NamedTuple):
    """A report with all its parts."""

    report: EvalReport
    task: TaskReport
    figures: list[Figure]
    html: str
    page: Parsed


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    prices = {"prompt": 1.0, "generated": 3.0}
    report = make_report(
        [
            fabricate(
                tmp_path_factory.mktemp("made") / "run",
                ARMS,
                questions=60,
                prices=prices,
            )
        ]
    )
    drawn = report_figures(report.tasks)
    html = page(report, drawn)
    figures = [figure for figure in drawn["t1"] if isinstance(figure, Figure)]
    return Made(report, report.tasks[0], figures, html, parsed(html))
