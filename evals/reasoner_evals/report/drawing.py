"""A figure drawn: as SVG that follows the page's colours, as SVG and PNG that stand alone; the same bytes each time."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from xml.etree import ElementTree as ET

from reasoner.tree.page import visible
from reasoner_evals.report.looks import COLOURS, INK, PAPER, QUIET, RULE

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDE: Final = 860
NARROW: Final = 330
"""Pixels across, of a desk and of a phone. Text is 12 pixels high in both."""
TEXT: Final = 12
LONGEST_LABEL = 60
DOTS_PER_PIXEL = 2
"""Of a PNG."""

Draw = Callable[["Canvas", int], None]
"""Draws on an empty canvas so many pixels wide, and sets its height."""

_NUMBERS = re.compile(r"-?\d+\.\d{3,}")
_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_GEOMETRY = {"d", "x", "y", "width", "height", "transform"}
"""Attributes whose numbers matplotlib writes to a millionth of a pixel."""
_NAMES = {colour.light: colour.name for colour in COLOURS}


class Drawn(NamedTuple):
    """One figure in all its forms. The SVG of the page is an `<svg>` element without namespaces, its ids its own."""

    wide: str
    narrow: str
    svg: bytes
    png: bytes


def drawn(name: str, draw: Draw) -> Drawn:
    """A figure, for a page of either width; `name` begins all its ids and is unique in the page."""
    with _settings(name):
        wide, narrow = _canvas(draw, WIDE), _canvas(draw, NARROW)
        svg = _svg(wide)
        return Drawn(_inline(svg, f"{name}-w-"), _inline(_svg(narrow), f"{name}-n-"), svg, _png(wide))


def label(text: str, limit: int = LONGEST_LABEL) -> str:
    """A text of a run as a figure may hold it: on one line, visible and short."""
    line = " ".join(visible(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def folded(text: str, limit: int) -> str:
    """A text as a figure may hold it on two lines of so many characters, parted where a part of a name ends."""
    whole = label(text, 2 * limit)
    if len(whole) <= limit:
        return whole
    ends = [found.end() for found in re.finditer(r"[\s_:,=.]+", whole) if limit // 2 <= found.end() <= limit]
    end = ends[-1] if ends else limit
    return f"{whole[:end].rstrip()}\n{label(whole[end:], limit)}"


@contextmanager
def _settings(name: str) -> Iterator[None]:
    import matplotlib as mpl

    settings: dict[str, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": TEXT,
        "font.family": ["DejaVu Sans"],
        "axes.facecolor": "none",
        "axes.edgecolor": QUIET.light,
        "axes.labelcolor": INK.light,
        "axes.titlesize": TEXT,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": TEXT,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": RULE.light,
        "grid.linewidth": 0.8,
        "text.color": INK.light,
        "xtick.color": QUIET.light,
        "ytick.color": QUIET.light,
        "xtick.labelcolor": INK.light,
        "ytick.labelcolor": INK.light,
        "xtick.labelsize": TEXT,
        "ytick.labelsize": TEXT,
        "legend.fontsize": TEXT,
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

    # 72 dots an inch make a point of matplotlib a pixel of the page.
    canvas = Canvas(figsize=(width / 72, width / 72), dpi=72, layout="constrained", facecolor=PAPER.light)
    FigureCanvasAgg(canvas)
    draw(canvas, width)
    # Laid out once: every drawing would do it anew.
    if engine := canvas.get_layout_engine():
        engine.execute(canvas)
    canvas.set_layout_engine("none")
    return canvas


def _svg(canvas: "Canvas") -> bytes:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # Not `savefig`, which draws everything twice.
    file = io.BytesIO()
    printer: Any = FigureCanvasSVG(canvas)
    printer.print_svg(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()


def _png(canvas: "Canvas") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    canvas.set_dpi(72 * DOTS_PER_PIXEL)
    printer: Any = FigureCanvasAgg(canvas)
    printer.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _inline(svg: bytes, prefix: str) -> str:
    """The SVG as an element of a page: no namespaces, no style sheet, no colours of its own."""
    root = ET.fromstring(svg)  # noqa: S314 matplotlib wrote it, and escapes
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in {"metadata", "style"}:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        if element.tag == "g":
            element.attrib.pop("id", None)  # nothing refers to a group
        element.attrib = {_local(key): _adapted(_local(key), value, prefix) for key, value in element.attrib.items()}
        if (fill := element.attrib.pop("fill", "")) != "":
            # Only a style takes a variable.
            element.set("style", f"fill: {_COLOUR.sub(_variable, fill)}")
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return ET.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _adapted(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return prefix + value
    if key == "href":
        return f"#{prefix}{value.removeprefix('#')}"
    if key == "style":
        value = _COLOUR.sub(_variable, re.sub(r"; ?font-family: [^;]*", "", value))
    if key in _GEOMETRY:
        return _NUMBERS.sub(lambda found: f"{float(found.group()):.2f}", value)
    return value.replace("url(#", f"url(#{prefix}")


def _variable(found: re.Match[str]) -> str:
    name = _NAMES.get(found.group().lower())
    return f"var(--{name})" if name else found.group()
