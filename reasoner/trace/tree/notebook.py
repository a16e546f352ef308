"""A solution as HTML for a notebook: the answer, the votes, the cost, and the search behind them."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner.errors import TraceError
from reasoner.solution import Solution
from reasoner.summary import MAX_ANSWERS, VoteSummary, cost_line
from reasoner.trace.tree.build import search_trees
from reasoner.trace.tree.page import fragment, policy, shortened, style

if TYPE_CHECKING:
    from jinja2 import Template


def notebook_html(solution: Solution) -> str:
    """The solution in a `<div>` without scripts; a text of a model is shown as text only, and bounded.

    The search is in a frame of its own, so that its styles and those of the notebook do not meet.
    """
    state = solution.vote_state
    votes = [(shortened(vote.answer.text, 200).text, vote) for vote in state.votes[:MAX_ANSWERS]]
    return _template().render(
        solution=solution,
        headline=shortened(solution.headline, 600).text,
        votes=votes,
        heaviest=max((vote.weight for _, vote in votes), default=0) or 1,
        summary=VoteSummary(state),
        others=len(state.votes) + state.tail.classes - len(votes),
        cost=cost_line(solution.cost),
        reply=shortened(solution.text, 4000),
        search=_search(solution),
    )


def _search(solution: Solution) -> str:
    """The page of the search; "" where the solution kept no events from its beginning on."""
    try:
        tree = next(search_trees(solution.events), None)
    except TraceError:
        return ""
    if tree is None or not tree.nodes:
        return ""
    return f"<!doctype html><html><head>{policy()}<style>{style()}</style></head><body>{fragment(tree)}</body></html>"


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    text = (Path(__file__).parent / "templates" / "notebook.html").read_text(encoding="utf-8")
    return environment.from_string(text)
