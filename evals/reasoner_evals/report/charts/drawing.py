"""Drawing a figure: as SVG in the page's colours, as SVG and PNG that stand alone; deterministic, byte for byte."""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reasoner.system.printing import printable
from reasoner_evals.report.charts.theme import COLOURS, INK, PAPER, QUIET, RULE, SeriesStyle
from reasoner_evals.report.content import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDE: Final = 860
"""Pixels across, on a desktop. Text is 12 pixels high at either width."""
NARROW: Final = 330
"""Pixels across, on a phone."""
TEXT: Final = 12
PNG_SCALE: Final = 2
MARGIN: Final = 0.03
"""Free space above and below what is drawn, as a share of the range."""
LEGEND_LINE: Final = 19
"""Pixels from one line of a legend to the next."""

Draw = Callable[["Canvas", int], None]
"""Draws on an empty canvas of so many pixels in width, and sets its height."""

_TAG = re.compile(r"<\w[^>]*>")
_NUMBERS = re.compile(r"-?\d+\.\d{3,}")
_COLOUR = re.compile(r"#[0-9a-f]{6}(?![0-9a-f])", re.IGNORECASE)
_VARIABLES = {colour.light: f"var(--{colour.name})" for colour in COLOURS}


class Drawing(NamedTuple):
    """One figure in all its forms. The SVG of the page is an `<svg>` element without namespaces, with unique ids."""

    wide: str
    narrow: str
    svg: bytes
    png: bytes


def drawing(name: str, draw: Draw) -> Drawing:
    """A figure for a page of either width; its ids are hashes that depend on `name`, which is unique in the page."""
    with _settings():
        wide, narrow = _canvas(draw, WIDE), _canvas(draw, NARROW)
        svg = _svg(wide, f"{name}-wide")
        return Drawing(_inline(svg), _inline(_svg(narrow, f"{name}-narrow")), svg, _png(wide))


def folded(text: str, limit: int) -> str:
    """A text as a figure may hold it on two lines of so many characters, split between the parts of a name."""
    whole = printable(text, limit=2 * limit)
    if len(whole) <= limit:
        return whole
    parts = list(re.finditer(r"(?:[\s_:,=]|\.(?!\d))+", whole))
    ends = [match.end() for match in parts if limit // 2 <= match.end() <= limit]
    ends += [match.end() for match in parts if match.end() in ends and match.group()[-1] == " "]
    end = ends[-1] if ends else limit
    return f"{whole[:end].rstrip()}\n{printable(whole[end:], limit=limit)}"


def wrapped(text: str, limit: int) -> str:
    """A text as a figure may hold it on up to three lines of so many characters."""
    whole = printable(text, limit=3 * limit)
    first, *rest = folded(whole, limit).split("\n")
    return "\n".join([first, folded(whole[len(first) :].lstrip(), limit)]) if rest else first


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib as mpl

    sizes = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    inked = ("axes.labelcolor", "text.color", "xtick.labelcolor", "ytick.labelcolor")
    settings: dict[str, object] = {
        **dict.fromkeys(sizes, TEXT),
        **dict.fromkeys(inked, INK.light),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), QUIET.light),
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "axes.facecolor": "none",
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": RULE.light,
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.borderpad": 0,
        "lines.linewidth": 1.8,
        "lines.markersize": 6,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        # The widths of characters that the layout's font lacks are guessed; browsers have other fonts.
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def _canvas(draw: Draw, width: int) -> "Canvas":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    # 72 dots per inch make a point of matplotlib a pixel of the page.
    canvas = Canvas(figsize=(width / 72, width / 72), dpi=72, layout="constrained", facecolor=PAPER.light)
    FigureCanvasAgg(canvas)
    draw(canvas, width)
    # Laid out once, not at every output.
    if engine := canvas.get_layout_engine():
        engine.execute(canvas)
    canvas.set_layout_engine("none")
    return canvas


def _svg(canvas: "Canvas", salt: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # `savefig` would draw everything twice.
    file = io.BytesIO()
    printer: Any = FigureCanvasSVG(canvas)
    with mpl.rc_context({"svg.hashsalt": salt}):
        printer.print_svg(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()


def _png(canvas: "Canvas") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    canvas.set_dpi(72 * PNG_SCALE)
    printer: Any = FigureCanvasAgg(canvas)
    printer.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _inline(svg: bytes) -> str:
    """The SVG as an element of a page: no namespaces, no style sheet, no colours of its own."""
    text = svg.decode()
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # matplotlib escapes < and > in texts and attributes, so that only tags match.
    return _TAG.sub(_page_tag, text)


def _page_tag(match: re.Match[str]) -> str:
    tag = match.group()
    if tag.startswith("<svg"):
        return re.sub(r"<svg.*(viewBox=\"[^\"]*\").*>", r'<svg \1 aria-hidden="true" focusable="false">', tag)
    if tag.startswith("<g"):
        tag = re.sub(r' id="[^"]*"', "", tag)  # matplotlib numbers groups; nothing refers to them
    tag = re.sub(r"; font-family: [^;]*", "", tag).replace("xlink:href", "href")
    # Only a style takes a variable.
    tag = _COLOUR.sub(
        lambda colour: _VARIABLES.get(colour.group().lower(), colour.group()),
        re.sub(r'fill="([^"]*)"', r'style="fill: \1"', tag),
    )
    # matplotlib writes places to a millionth of a pixel.
    return _NUMBERS.sub(lambda number: f"{float(number.group()):.2f}", tag)


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


def log_ticks(low: float, high: float, base: int, limit: int) -> list[float]:
    """Round values in a range, at most `limit`, or two if there are more decades than that."""
    if base == 2:
        exponents = range(math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9) + 1)
        powers = [2.0**exponent for exponent in exponents]
        return powers[:: math.ceil(len(powers) / limit)] if powers else [low]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) <= limit:
            return ticks or [low]
    return ticks[:: math.ceil(len(ticks) / limit)]


def log_x(axes: "Axes", values: Sequence[float], base: int, *, pixels: int) -> None:
    """Put a log scale that spans the values under an axes, with round ticks."""
    low, high = min(values) / 1.12, max(values) * 1.12
    if high < 2 * low:
        low, high = low / 1.5, high * 1.5
    axes.set_xscale("log", base=base)
    axes.set_xlim(low, high)
    ticks = log_ticks(low, high, base, max(2, min(6, pixels // 90)))
    axes.set_xticks(ticks, [short(tick) for tick in ticks])
    axes.set_xticks([], minor=True)


def percent_y(axes: "Axes", heights: Iterable[Estimate]) -> None:
    """A scale of percent that holds every height with its interval: nothing is clipped."""
    known = [value for height in heights for value in height if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = max(MARGIN * (high - low), 0.02)
    axes.set_ylim(max(low - room, -0.03), min(high + room, 1.03))
    few_ticks(axes.yaxis, 6)
    percent(axes.yaxis)


def few_ticks(axis: Any, limit: int) -> None:
    """Round ticks on a linear scale, at most so many and one more."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=limit, steps=[1, 2, 2.5, 5, 10]))


def percent(axis: Any) -> None:
    """Label a scale of shares in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if -1e-9 <= value <= 1 + 1e-9 else "")


def series_key(name: str, style: SeriesStyle) -> Any:
    """A series in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=style.colour.light, linestyle=style.line, marker=style.marker,
                  label=name)  # fmt: skip


def line_key(name: str, **options: Any) -> Any:
    """A line in a legend, grey if no colour is given."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, **({"color": QUIET.light} | options))


def legend(canvas: "Canvas", handles: Sequence[Any], width: int) -> int:
    """Put a legend below the figure; returns its height in pixels."""
    if not handles:
        return 0
    names = [folded(str(handle.get_label()), 34 if width < WIDE else 60) for handle in handles]
    for handle, name in zip(handles, names, strict=True):
        handle.set_label(name)
    widest = max(len(line) for name in names for line in name.split("\n"))
    columns = max(1, min(len(handles), (width - 20) // (8 * widest + 50)))
    canvas.legend(handles=handles, loc="outside lower left", ncols=columns, alignment="left", handlelength=2.6)
    heights = [1 + name.count("\n") for name in names]
    rows = math.ceil(len(heights) / columns)
    return LEGEND_LINE * max(sum(heights[start : start + rows]) for start in range(0, len(heights), rows))


def sized(canvas: "Canvas", width: int, height: float) -> None:
    """Set the size in pixels."""
    canvas.set_size_inches(width / 72, height / 72)
