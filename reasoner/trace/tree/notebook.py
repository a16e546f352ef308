"""A solution as HTML for a notebook: the answer, the votes, the cost, and the search behind them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner.budget import Cost, cost_line
from reasoner.errors import TraceError
from reasoner.trace.events import Event
from reasoner.trace.tree.build import search_trees
from reasoner.trace.tree.page import fragment, policy, shortened, style
from reasoner.types import VoteState
from reasoner.voting import MAX_ANSWERS, VoteSummary

if TYPE_CHECKING:
    from jinja2 import Template


def notebook_html(headline: str, state: VoteState, cost: Cost, reply: str, events: Sequence[Event]) -> str:
    """The answer, votes, cost, reply and search in a `<div>` without scripts.

    A text of a model is shown as text only, and bounded. The search is in a frame of its own, so that
    its styles and those of the notebook do not meet.
    """
    votes = [(shortened(vote.answer.text, 200).text, vote) for vote in state.votes[:MAX_ANSWERS]]
    return _template().render(
        headline=shortened(headline, 600).text,
        votes=votes,
        heaviest=max((vote.weight for _, vote in votes), default=0) or 1,
        summary=VoteSummary(state),
        others=len(state.votes) + state.tail.classes - len(votes),
        cost=cost_line(cost),
        reply=shortened(reply, 4000),
        search=_search(events),
    )


def _search(events: Sequence[Event]) -> str:
    """The page of the search; "" where there are no events from its beginning on."""
    try:
        tree = next(search_trees(events), None)
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
