"""Names at the ends of lines: beside the last mark where there is room, otherwise in a column on the right."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from reasoner_evals.report.charts.drawing import TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LINE: Final = TEXT + 3
"""Pixels from one line of a name to the next."""
CHARACTER: Final = 7.4
"""Pixels of a character, on the safe side."""
GAP: Final = 7
"""Pixels between a mark and its name."""
_COLUMN_FROM: Final = 0.8
"""A line that ends right of this share of the axes has its name in the column."""
_SAMPLES: Final = 24
"""Places on each piece of a line that a name should not cover."""


class EndLabel(NamedTuple):
    """The name of a line, on one or more lines of text, and the marks of that line in data coordinates."""

    text: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]

    @property
    def height(self) -> int:
        """In pixels."""
        return LINE * (1 + self.text.count("\n"))

    @property
    def width(self) -> float:
        """In pixels."""
        return CHARACTER * max(map(len, self.text.split("\n")))


class _Box(NamedTuple):
    """A rectangle in pixels of the figure, from its lower left."""

    left: float
    bottom: float
    right: float
    top: float

    def covers(self, x: "np.ndarray", y: "np.ndarray") -> int:
        inside = (x > self.left) & (x < self.right) & (y > self.bottom) & (y < self.top)
        return int(inside.sum())

    def meets(self, other: "_Box") -> bool:
        return (self.left < other.right and other.left < self.right
                and self.bottom < other.top and other.bottom < self.top)  # fmt: skip


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """The centres of boxes as near as possible to those wanted, without overlaps, in [low, high] if they fit there.

    Boxes keep the order of the wanted centres. Boxes that would overlap are moved as one (pool adjacent violators).
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[tuple[float, float, list[int]]] = []  # wanted bottom, height, members from the bottom up
    for index in order:
        block = (wanted[index] - heights[index] / 2, heights[index], [index])
        while blocks and blocks[-1][0] + blocks[-1][1] > block[0]:
            bottom, height, members = blocks.pop()
            count, own = len(members), len(block[2])
            start = (count * bottom + own * (block[0] - height)) / (count + own)
            block = (start, height + block[1], members + block[2])
        blocks.append(block)
    centres, floor, room = [0.0] * len(wanted), low, sum(heights)
    for bottom, _, members in blocks:
        start = max(floor, min(bottom, max(high - room, floor)))
        for index in members:
            centres[index] = start + heights[index] / 2
            start += heights[index]
            room -= heights[index]
        floor = start
    return centres


def place_labels(canvas: "Canvas", axes: "Axes", labels: Sequence[EndLabel], column: float) -> None:
    """Write each name. `column` is the left edge of the column, in pixels; scales and sizes are final."""
    size = canvas.get_size_inches() * 72
    frame = axes.get_position()
    left, right, bottom, top = frame.x0 * size[0], frame.x1 * size[0], frame.y0 * size[1], frame.y1 * size[1]
    paths = [axes.transData.transform(np.column_stack([label.x, label.y])) for label in labels]
    inked = np.concatenate([_along(path) for path in paths]) if paths else np.empty((0, 2))
    taken: list[_Box] = []
    in_column: list[int] = []
    for index, (label, path) in enumerate(zip(labels, paths, strict=True)):
        x, y = path[-1]
        box = None
        if x < left + _COLUMN_FROM * (right - left):
            box = _free(label, x, y, _Box(left, bottom, column - GAP, top), inked, taken)
        if box is None:
            in_column.append(index)
            continue
        taken.append(box)
        canvas.text(box.left / size[0], (box.bottom + box.top) / 2 / size[1], label.text, color=label.colour,
                    va="center", ha="left", linespacing=1.1)  # fmt: skip
    heights = [labels[index].height for index in in_column]
    centres = spread([paths[index][-1][1] for index in in_column], heights, bottom - LINE, top + LINE)
    for index, centre in zip(in_column, centres, strict=True):
        label, (x, y) = labels[index], paths[index][-1]
        _leader(canvas, [(x + 5, y), (column - 4, centre)], label.colour)
        canvas.text(column / size[0], centre / size[1], label.text, color=label.colour, va="center", ha="left",
                    linespacing=1.1)  # fmt: skip


def _along(path: "np.ndarray") -> "np.ndarray":
    """Places along a line, its marks first."""
    steps = np.linspace(0, 1, _SAMPLES)[:, None]
    pieces = [start + steps * (end - start) for start, end in pairwise(path)]
    return np.concatenate([path, *pieces])


def _free(label: EndLabel, x: float, y: float, room: _Box, inked: "np.ndarray", taken: Sequence[_Box]) -> "_Box | None":
    """The first place beside a mark that covers no mark, no line and no other name; None if there is none."""
    width, height = label.width, label.height
    near = [(x + GAP, y - height / 2), (x + GAP, y - height - 2), (x + GAP, y + 2), (x - GAP - width, y - height / 2),
            (x - width / 2, y - height - GAP), (x - width / 2, y + GAP), (x - 4, y - height - GAP), (x - 4, y + GAP),
            (x - 4, y - height - 3 * GAP), (x - 4, y + 3 * GAP)]  # fmt: skip
    for left, bottom in near:
        box = _Box(left, bottom, left + width, bottom + height)
        inside = box.left >= room.left and box.right <= room.right and box.bottom >= room.bottom and box.top <= room.top
        if inside and not box.covers(*inked.T) and not any(map(box.meets, taken)):
            return box
    return None


def _leader(canvas: "Canvas", ends: Sequence[tuple[float, float]], colour: str) -> None:
    from matplotlib.lines import Line2D

    size = canvas.get_size_inches() * 72
    x, y = zip(*ends, strict=True)
    canvas.add_artist(
        Line2D(
            [value / size[0] for value in x],
            [value / size[1] for value in y],
            transform=canvas.transFigure,
            color=colour,
            linewidth=0.8,
            alpha=0.6,
        )
    )
