"""The style of each series, the same in every figure: colour, marker and line, so that colour alone decides nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reasoner_evals.report.content import TaskReport


class Colour(NamedTuple):
    """A colour in the light and in the dark theme, and the CSS variable that holds it in the page."""

    name: str
    light: str
    dark: str


class SeriesStyle(NamedTuple):
    """How a series is drawn."""

    colour: Colour
    marker: str
    """Of matplotlib."""
    glyph: str
    """The marker as a character."""
    dashes: tuple[float, ...]
    """Lengths of dash and gap in points; empty is solid."""

    @property
    def line(self) -> Any:
        """The line style for matplotlib."""
        return (0, self.dashes) if self.dashes else "-"


INK = Colour("ink", "#1c2127", "#e6e8eb")
QUIET = Colour("quiet", "#59626d", "#a3adb8")
RULE = Colour("rule", "#d5dae0", "#363d47")
PAPER = Colour("paper", "#fefefe", "#14171b")

# After Okabe and Ito (2008): distinct under the common colour deficiencies, contrast 3:1 or more against the paper.
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
"""For the parts of a cost, in their order."""
COLOURS = (INK, QUIET, RULE, PAPER, *SERIES, *KINDS)

_MARKERS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"), ("*", "★"))
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (8, 2, 2, 2), (3, 2))


def series_styles(tasks: Sequence[TaskReport]) -> Mapping[str, SeriesStyle]:
    """The style of every series, in the order of the points."""
    names = dict.fromkeys(series for task in tasks for series in task.points["series"])
    return {series: style_at(index) for index, series in enumerate(names)}


def style_at(index: int) -> SeriesStyle:
    """The style with a number: 32 are distinct, then they repeat."""
    marker, glyph = _MARKERS[index % len(_MARKERS)]
    # The line shifts with each round of colours, or it would repeat with the colour.
    line = (index + index // len(SERIES)) % len(_DASHES)
    return SeriesStyle(SERIES[index % len(SERIES)], marker, glyph, _DASHES[line])
