"""A race as one page without scripts or network: the verdict, the frontier, the forecast, and who went out when."""

import math
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from reasoner.journal.folder import make_folder, write_whole
from reasoner.trace.page import base_style, environment, policy
from reasoner_evals.stats import mean_of
from reasoner_evals.tuning.outcome import RaceOutcome, bounded
from reasoner_evals.tuning.race import Race, why_out
from reasoner_evals.tuning.verdict import frontier

WIDTH, HEIGHT, EDGE = 640, 320, 44
"""Of a figure and its margins, in pixels."""
TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


class Dot(NamedTuple):
    """A candidate in a figure, in pixels from the upper left corner."""

    x: float
    y: float
    title: str
    kind: str


class RaceFigure(NamedTuple):
    """Accuracy against a cost on a log scale."""

    title: str
    dots: tuple[Dot, ...]
    line: str
    """The frontier, as the points of a polyline."""
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[tuple[float, str], ...]


def write(outcome: RaceOutcome) -> None:
    """Write the settings, and the page and the profile beside them.

    Raises:
        TraceError: a file cannot be written.
    """
    out = outcome.out
    make_folder(out.parent)
    if outcome.profile:
        content = outcome.profile.model_dump_json(indent=1)
        write_whole(outcome.profile_path, [content.encode(), b"\n"])
    write_whole(out.with_suffix(".html"), [page(outcome).encode()])
    write_whole(out, [outcome.settings.encode()])


def page(outcome: RaceOutcome) -> str:
    """The page."""
    race, specs, chosen = outcome.race, outcome.specs, outcome.verdict.chosen.spec
    out = {each.who: each for each in race.exits}
    candidates = [
        {
            "spec": specs[who],
            "accuracy": race.accuracy(who),
            "tokens": race.cost(who),
            "questions": race.asked(who),
            "why": why_out(out[who], specs, race, outcome.errors)
            if who in out
            else "stayed in",
            "chosen": specs[who] == chosen,
        }
        for who in [*race.inside, *(each.who for each in reversed(race.exits))]
        if race.asked(who)
    ]
    sequential = np.array([mean_of(row) for row in race.sequential])
    tokens = np.array([race.cost(who) for who in range(len(specs))])
    figures = [
        figure("tokens a question", race, specs, tokens, chosen),
        figure(
            "sequential tokens a question: the waiting",
            race,
            specs,
            sequential,
            chosen,
        ),
    ]
    template = environment(Path(__file__).parent).get_template("page.html.j2")
    return template.render(
        outcome=outcome,
        facts=list(outcome.facts),
        bounded=bounded,
        candidates=candidates,
        figures=[each for each in figures if each],
        width=WIDTH,
        height=HEIGHT,
        edge=EDGE,
        policy=policy(),
        style=base_style(),
        version=version("reasoner-kit"),
        percent=lambda value: "–" if math.isnan(value) else f"{100 * value:.1f} %",
    )


def figure(
    title: str, race: Race, specs: tuple[str, ...], cost: Any, chosen: str
) -> RaceFigure | None:
    """Accuracy against these costs [K]; None where no candidate has one."""
    shown = [
        who for who in range(len(specs)) if race.asked(who) and 0 < cost[who] < math.inf
    ]
    if not shown:
        return None
    low, high = (
        math.log10(bound) for bound in (min(cost[shown]) / 1.2, max(cost[shown]) * 1.2)
    )

    def x(amount: float) -> float:
        return round(
            EDGE + (math.log10(amount) - low) / (high - low) * (WIDTH - 2 * EDGE), 1
        )

    def y(share: float) -> float:
        return round(HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE), 1)

    inside = set(race.inside)
    dots = tuple(
        Dot(
            x(cost[who]),
            y(race.accuracy(who)),
            f"{specs[who]}: {100 * race.accuracy(who):.1f} %, {cost[who]:,.0f} {title.partition(':')[0]}",
            "chosen" if specs[who] == chosen else "in" if who in inside else "out",
        )
        for who in shown
    )
    steps = [
        point
        for point in frontier(race, specs, np.where(cost > 0, cost, math.inf))
        if point.tokens < math.inf
    ]
    line = " ".join(f"{x(point.tokens)},{y(point.accuracy)}" for point in steps)
    decades = [
        10**power * factor
        for power in range(math.floor(low), math.ceil(high) + 1)
        for factor in (1, 3)
    ]
    ticks = tuple(
        (x(each), f"{each:,g}") for each in decades if low <= math.log10(each) <= high
    )
    return RaceFigure(
        title, dots, line, ticks, tuple((y(share), f"{share:.0%}") for share in TICKS)
    )
