"""How figures are drawn: colours, scales, and one drawing for the page and for files; the same byte for byte."""

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from reasoner.system.printing import printable
from reasoner_evals.report.content import BoundedValue, TaskReport

WIDTH, HEIGHT = 400, 260
"""Units of a drawing. The page scales it, and has rules for the size of its text."""
TEXT: Final = 11
LEFT, RIGHT, BOTTOM, TOP = 50, 10, 24, 10
"""Room for the numbers of the scales."""


class Colour(NamedTuple):
    """A colour in the light and in the dark theme, and the CSS variable that holds it in the page."""

    name: str
    light: str
    dark: str


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
COLOURS = (INK, QUIET, RULE, PAPER, *SERIES)
_VARIABLES = {colour.light: f"var(--{colour.name})" for colour in COLOURS}
_MARKERS = (
    ("o", "●"),
    ("s", "■"),
    ("^", "▲"),
    ("D", "◆"),
    ("v", "▼"),
    ("P", "✚"),
    ("X", "✖"),
    ("*", "★"),
)
_DASHES: Final[tuple[Any, ...]] = ("-", (0, (6, 2)), (0, (8, 2, 2, 2)), (0, (3, 2)))


class SeriesStyle(NamedTuple):
    """How a series is drawn in every figure: colour, marker and line, so that colour alone decides nothing."""

    colour: Colour
    marker: str
    """Of matplotlib."""
    glyph: str
    """The marker as a character."""
    line: Any
    """Of matplotlib."""

    @property
    def options(self) -> dict[str, Any]:
        """What matplotlib draws the series with."""
        return {
            "color": self.colour.light,
            "marker": self.marker,
            "linestyle": self.line,
        }


def series_styles(tasks: Sequence[TaskReport]) -> dict[str, SeriesStyle]:
    """The style of every series: 64 differ in colour and marker, and 32 in marker and line."""
    names = dict.fromkeys(series for task in tasks for series in task.points["series"])
    styles = {}
    for index, series in enumerate(names):
        turn, colour = divmod(index, len(SERIES))
        marker, dash = (
            _MARKERS[(colour + turn) % len(_MARKERS)],
            _DASHES[(colour + 2 * turn) % len(_DASHES)],
        )
        styles[series] = SeriesStyle(SERIES[colour], *marker, dash)
    return styles


class LegendKey(NamedTuple):
    """An entry of a legend: a character in a colour, and what it stands for."""

    glyph: str
    colour: Colour
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure to be shown. The page writes its titles and legend as text, a file draws them."""

    name: str
    """Of its files; its ids depend on it."""
    alt: str
    caption: str
    x: str
    y: str
    keys: Sequence[LegendKey]
    inline: str
    """An `<svg>` element for a page, without namespaces and titles, with unique ids and the page's colours."""
    svg: bytes
    png: bytes


def figure(
    name: str,
    alt: str,
    caption: Iterable[str],
    axes: Axes,
    *,
    x: str,
    y: str = "",
    keys: Sequence[LegendKey] = (),
) -> Figure:
    """The figure with these axes and their titles. `name` is unique in the page."""
    canvas: Any = axes.figure
    inline = _inline(_saved(canvas, "svg", f"{name}-page", None))
    axes.set(xlabel=x, ylabel=y)
    width, height = 72 * canvas.get_size_inches()
    for row, key in enumerate(keys, start=2):
        down = -row * 1.4 * TEXT / height
        canvas.text(4 / width, down, key.glyph, color=key.colour.light)
        canvas.text(20 / width, down, printable(key.text, limit=100))
    svg, png = (_saved(canvas, file, name, "tight") for file in ("svg", "png"))
    return Figure(
        name, alt, " ".join(filter(None, caption)), x, y, keys, inline, svg, png
    )


def _saved(canvas: Any, file: str, salt: str, box: str | None) -> bytes:
    written = io.BytesIO()
    metadata = ("Date", "Creator", "Format", "Type") if file == "svg" else ("Software",)
    with mpl.rc_context({"svg.hashsalt": salt}):
        canvas.savefig(
            written,
            format=file,
            bbox_inches=box,
            dpi=216,
            metadata=dict.fromkeys(metadata),
        )
    return written.getvalue()


def _inline(svg: bytes) -> str:
    """The SVG as an element of a page: no namespaces, no style sheet, no colours and sizes of text of its own."""
    text = svg.decode()
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # matplotlib escapes < and > in texts and attributes, so that only tags match.
    return re.sub(r"<\w[^>]*>", _page_tag, text)


def _page_tag(match: re.Match[str]) -> str:
    tag = match.group()
    if tag.startswith("<svg"):
        return re.sub(
            r"<svg.*(viewBox=\"[^\"]*\").*>",
            r'<svg \1 aria-hidden="true" focusable="false">',
            tag,
        )
    if tag.startswith("<g"):
        tag = re.sub(
            r' id="[^"]*"', "", tag
        )  # matplotlib numbers groups; nothing refers to them
    tag = re.sub(r"font(-size|-family)?: [^;\"]*(; )?", "", tag).replace(
        "xlink:href", "href"
    )
    # Only a style takes a variable.
    tag = re.sub(
        r"#[0-9a-fA-F]{6}\b",
        lambda colour: _VARIABLES.get(colour.group().lower(), colour.group()),
        re.sub(r'fill="([^"]*)"', r'style="fill: \1"', tag),
    )
    # matplotlib writes places to a millionth of a unit.
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number.group()):.2f}", tag)


@contextmanager
def settings() -> Iterator[None]:
    """What figures look like that are drawn in this context."""
    sizes = (
        "font.size",
        "axes.titlesize",
        "axes.labelsize",
        "xtick.labelsize",
        "ytick.labelsize",
    )
    inked = ("axes.labelcolor", "text.color", "xtick.labelcolor", "ytick.labelcolor")
    chosen: dict[str, object] = {
        **dict.fromkeys(sizes, TEXT),
        **dict.fromkeys(inked, INK.light),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), QUIET.light),
        **dict.fromkeys(
            ("axes.spines.top", "axes.spines.right", "text.parse_math"), False
        ),
        **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
        **dict.fromkeys(("axes.linewidth", "grid.linewidth"), 0.6),
        **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2),
        "svg.fonttype": "none",
        "font.family": ["DejaVu Sans"],
        "axes.facecolor": "none",
        "grid.color": RULE.light,
        "lines.linewidth": 1.3,
        "lines.markersize": 5,
    }
    with mpl.rc_context(chosen), warnings.catch_warnings():  # type: ignore[arg-type]
        # The widths of characters that the layout's font lacks are guessed; browsers have other fonts.
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def panel() -> Axes:
    """Empty axes on a canvas of their own."""
    # 72 dots per inch make a point of matplotlib a unit of the drawing.
    canvas = Canvas(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72, facecolor=PAPER.light)
    FigureCanvasAgg(canvas)
    inside = (WIDTH - LEFT - RIGHT) / WIDTH, (HEIGHT - BOTTOM - TOP) / HEIGHT
    return canvas.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, *inside))


def short(value: float) -> str:
    """A number in at most a few characters: 1.5k, 20M, 3e15."""
    value = float(f"{value:.3g}")
    if value >= 1e15 or 0 < value < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def log_x(axes: Axes, values: Sequence[float], base: int) -> None:
    """Put a log scale that spans the values under an axes, with round ticks."""
    low, high = min(values) / 1.12, max(values) * 1.12
    if high < 2 * low:
        low, high = low / 1.5, high * 1.5
    axes.set_xscale("log", base=base)
    axes.set_xlim(low, high)
    steps = (1, 2, 5) if base == 10 and high < 30 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(base, subs=steps, numticks=6))
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.xaxis.set_minor_locator(NullLocator())


def percent_y(axes: Axes, heights: Iterable[BoundedValue]) -> None:
    """A scale of percent that holds every height with its interval: nothing is clipped."""
    known = [value for height in heights for value in height if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    # Free space above and below what is drawn, as a share of the range
    room = max(0.03 * (high - low), 0.02)
    axes.set_ylim(max(low - room, -0.03), min(high + room, 1.03))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{100 * value:.0f} %" if -1e-9 <= value <= 1 + 1e-9 else ""
    )


def band(axes: Axes, points: Sequence[tuple[float, BoundedValue]], colour: str) -> None:
    """The intervals of a line as a shaded band; of a single point as a bar."""
    spans = [
        (x, y.low, y.high)
        for x, y in points
        if y.low is not None and y.high is not None
    ]
    x, low, high = ([span[index] for span in spans] for index in range(3))
    if len(spans) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.6)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
