"""How each series looks, the same in every figure: a colour, a marker and a line, so that none is told by one alone."""

from collections.abc import Mapping
from typing import NamedTuple

from reasoner_evals.report.content import Report


class Colour(NamedTuple):
    """A colour on paper and on a dark screen, and the CSS variable that holds it in the page."""

    name: str
    light: str
    dark: str


class Look(NamedTuple):
    """How a series is drawn."""

    colour: Colour
    marker: str
    """Of matplotlib."""
    glyph: str
    """The marker as a character."""
    dashes: tuple[float, ...]
    """Lengths of ink and gap in points; empty is solid."""


INK = Colour("ink", "#1c2127", "#e6e8eb")
QUIET = Colour("quiet", "#59626d", "#a3adb8")
RULE = Colour("rule", "#d5dae0", "#363d47")
PAPER = Colour("paper", "#fefefe", "#14171b")

# After Okabe and Ito (2008): told apart under the common colour deficiencies, 3:1 or more against the paper.
SERIES = (
    Colour("s1", "#0068a8", "#58aef0"),
    Colour("s2", "#bf4d00", "#ff9350"),
    Colour("s3", "#007d5b", "#35c79b"),
    Colour("s4", "#a83e8c", "#e58fcd"),
    Colour("s5", "#8a6500", "#e0b230"),
    Colour("s6", "#4c4fb8", "#a7a9ff"),
    Colour("s7", "#86224f", "#ee86ae"),
    Colour("s8", "#5f7000", "#b4c63c"),
)
KINDS = (
    Colour("k1", "#2b6ca3", "#4b92cf"),
    Colour("k2", "#a9bccd", "#51677c"),
    Colour("k3", "#c98500", "#d9a02f"),
    Colour("k4", "#7a4fa0", "#ab85cf"),
    Colour("k5", "#8b9096", "#7d848c"),
)
"""Of the parts of a cost, in their order."""
COLOURS = (INK, QUIET, RULE, PAPER, *SERIES, *KINDS)

_MARKERS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"), ("*", "★"))
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (8, 2, 2, 2), (3, 2))


def looks(report: Report) -> Mapping[str, Look]:
    """The look of every series, in the order in which the report names them."""
    named: dict[str, None] = {}
    for task in report.tasks:
        named |= dict.fromkeys(one.series for one in task.points)
        named |= dict.fromkeys(one.series for one in task.curves)
        named |= dict.fromkeys(one.series for one in task.scaling)
        named |= dict.fromkeys(one.series for one in task.verifiers)
    return {series: look(place) for place, series in enumerate(named)}


def look(place: int) -> Look:
    """The look at a place: 32 are distinct, after which they come round."""
    marker, glyph = _MARKERS[place % len(_MARKERS)]
    # The line shifts with each round of the colours, or it would say nothing that the colour does not.
    line = (place + place // len(SERIES)) % len(_DASHES)
    return Look(SERIES[place % len(SERIES)], marker, glyph, _DASHES[line])
