"""Where the nodes of a tree are drawn: the layout of Reingold and Tilford (1981, "Tidier drawings of trees")."""

from collections.abc import Sequence


def tidy(levels: Sequence[int], reach: Sequence[int]) -> list[float]:
    """The row of each item, from 0: items of one level are at least 1 apart, parents in the middle of their children.

    `levels` lists the items parents first, each followed by its descendants; the roots have level 0. `reach` says how
    many levels beyond its own an item's label needs room. Takes time linear in items times levels.
    """
    children: list[list[int]] = [[] for _ in range(len(levels) + 1)]
    branch: list[int] = []
    for item, level in enumerate(levels):
        del branch[level:]
        children[branch[-1] if branch else -1].append(item)
        branch.append(item)
    rows = [0.0] * len(levels)
    contours: dict[int, list[tuple[float, float]]] = {}
    for item in reversed(range(-1, len(levels))):
        merged: list[tuple[float, float]] = []
        for child in children[item]:
            contour = contours.pop(child)
            rows[child] = max(
                (high - low + 1 for (_, high), (low, _) in zip(merged, contour, strict=False)), default=0.0
            )
            merged = _merged(merged, contour, rows[child])
        middle = (rows[children[item][0]] + rows[children[item][-1]]) / 2 if children[item] else 0.0
        for child in children[item]:
            rows[child] -= middle
        room = [(0.0, 0.0)] * ((reach[item] if item >= 0 else 0) + 1)
        below = [(low - middle, high - middle) for low, high in merged]
        contours[item] = _merged(room, [(0.0, 0.0), *below], 0.0)
    return _absolute(rows, children)


def _merged(
    upper: list[tuple[float, float]], lower: list[tuple[float, float]], shift: float
) -> list[tuple[float, float]]:
    """The first and last row on each level of two contours, the second one moved by `shift`."""
    moved = [(low + shift, high + shift) for low, high in lower]
    both = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(upper, moved, strict=False)]
    return both + upper[len(both) :] + moved[len(both) :]


def _absolute(rows: list[float], children: list[list[int]]) -> list[float]:
    """Rows counted from the first one, of rows relative to each parent."""
    for item, below in enumerate(children[:-1]):
        for child in below:
            rows[child] += rows[item]
    first = min(rows, default=0.0)
    return [row - first for row in rows]
