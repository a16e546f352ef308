"""What the drawing of a search shows: a tree of its steps, or its samples grouped by answer."""

from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from reasoner.trace.tree import words
from reasoner.trace.tree.layout import tidy
from reasoner.trace.tree.outline import Outline, Row
from reasoner.trace.tree.search_tree import Node, SearchTree

MAX_DRAWN: Final = 200
"""Sequences in one drawing."""
MAX_DRAWN_DEPTH: Final = 40
"""Levels in one drawing: more cannot be distinguished on a telephone."""
MAX_COUNTED: Final = 60
"""Rows up to which a drawing says at each node how many sequences below it are left out."""
MAX_GROUPS: Final = 12
"""Answers in one drawing; the others are one group."""
MAX_DEPTH_ROWS: Final = 40
"""Rows of the costs per depth."""
HEIGHT: Final = 760
"""Pixels that a drawing takes at most, where its rows need not be closer than `CLOSEST`."""
CLOSEST, WIDEST, LABELLED, SPACIOUS = 7, 26, 13, 24
"""Pixels between rows: at least, at most, and from where each node has its score beside it, and below it."""
BINS: Final = 5
"""Colours of scores, each for an equal part of 0 to 1."""


class Mark(NamedTuple):
    """A node, a prompt or a number of sequences left out, as one mark of a drawing. `x` is a percentage, `y` pixels."""

    x: float
    y: float
    radius: float
    look: str
    """The classes of its style."""
    node: Node | None
    tip: str
    """The text that a pointer resting on it shows."""
    label: str
    parent: "tuple[float, float] | None" = None
    """Where the line to it begins."""


@dataclass(frozen=True, slots=True)
class Forest:
    """The tree of steps, from the prompts on the left to the replies on the right."""

    marks: tuple[Mark, ...]
    height: float
    levels: int
    left_out: int
    """Sequences that are not drawn."""
    labelled: bool
    """Whether there is room for the score of every node."""
    spacious: bool
    """Whether there is room for it below the node, where no line crosses it."""


@dataclass(frozen=True, slots=True)
class Group:
    """The samples with one answer; `name` is None for those without, or with any other answer where `others` > 0."""

    name: str | None
    samples: int
    marks: tuple[Mark, ...]
    chosen: bool = False
    others: int = 0

    @property
    def left_out(self) -> int:
        """Samples that are not drawn."""
        return self.samples - len(self.marks)


@dataclass(frozen=True, slots=True)
class Groups:
    """The samples of a search without steps, by answer: the most frequent first, then those without an answer."""

    groups: tuple[Group, ...]
    samples: int
    left_out: int


class DepthCost(NamedTuple):
    """The sequences at one depth, from 1, or at all depths from it on where `last` is another one."""

    depth: int
    last: int
    sequences: int
    tokens: int
    share: float
    """Of the tokens of all sequences, from 0 to 1."""


def anchor_of(tree: SearchTree) -> str:
    """A prefix of element ids that is the same each time, and another one for another search."""
    short = repr((tree.began, tree.ended, len(tree.nodes))).encode("utf-8", "replace")
    return f"t{blake2b(short, digest_size=5).hexdigest()}"


def drawing_of(tree: SearchTree) -> Forest | Groups | None:
    """The drawing of at most `MAX_DRAWN` sequences; None of a single one."""
    if len(tree.nodes) < 2:
        return None
    outline = Outline.of(tree, maximum=MAX_DRAWN, deepest=MAX_DRAWN_DEPTH)
    return _groups(outline) if tree.depth == 1 else _forest(outline)


def depth_costs(tree: SearchTree) -> list[DepthCost]:
    """What the sequences of each depth cost, with their ratings; none where all have the same depth."""
    sequences: dict[int, int] = defaultdict(int)
    tokens: dict[int, int] = defaultdict(int)
    for node in tree.nodes:
        depth = min(node.depth, MAX_DEPTH_ROWS)
        sequences[depth] += 1
        tokens[depth] += node.cost.tokens
    total = max(sum(tokens.values()), 1)
    costs = [
        DepthCost(depth, depth, sequences[depth], tokens[depth], tokens[depth] / total) for depth in sorted(sequences)
    ]
    if costs and tree.depth > MAX_DEPTH_ROWS:
        costs[-1] = costs[-1]._replace(last=tree.depth)
    return costs if tree.depth > 1 else []


def score_bin(node: Node) -> int | None:
    """Which of the `BINS` colours its score has; None without a score."""
    if node.rating is None or node.rating.value is None:
        return None
    return min(int(node.rating.value * BINS), BINS - 1)


def _forest(outline: Outline) -> Forest:
    tree = outline.tree
    rows: list[Row | int] = []
    for head in outline.heads:
        below = [row._replace(level=row.level + 1) for row in outline.rows(head)]
        if any(row.node for row in below):
            rows += [head, *below]
    if len(rows) > MAX_COUNTED:
        rows = [row for row in rows if isinstance(row, int) or row.node]
    levels = [0 if isinstance(row, int) else row.level for row in rows]
    reach = [0 if isinstance(row, int) or (row.node and row.node.children) else 1 for row in rows]
    offsets = tidy(levels, reach)
    step = min(max(HEIGHT / (max(offsets, default=0) + 1), CLOSEST), WIDEST)
    deepest = max(levels, default=1)
    marks: list[Mark] = []
    branch: list[tuple[float, float]] = []
    for row, level, offset in zip(rows, levels, offsets, strict=True):
        at = (round(100 * level / deepest, 2), round((offset + 0.5) * step, 1))
        del branch[level:]
        parent = branch[-1] if branch else None
        branch.append(at)
        if isinstance(row, int):
            name = "prompt" if len(tree.heads) == 1 else f"prompt {row + 1:,}"
            marks.append(Mark(*at, min(step / 2, 4), "prompt", None, name, name if step >= LABELLED else ""))
        elif row.node is None:
            more = f"{row.left_out:,} more, not drawn"
            marks.append(Mark(*at, 0, "more", None, more, f"+{row.left_out:,}", parent))
        else:
            marks.append(_mark(row.node, tree, at, parent, largest=step * 0.48))
    height = (max(offsets, default=0) + 1) * step
    return Forest(tuple(marks), round(height, 1), deepest, outline.left_out, step >= LABELLED, step >= SPACIOUS)


def _groups(outline: Outline) -> Groups:
    tree = outline.tree
    by_answer: dict[str | None, list[Node]] = defaultdict(list)
    for node in tree.nodes:
        answer = node.answer if words.answer_of(node, tree) else None
        by_answer[answer.key if answer else None].append(node)
    silent = by_answer.pop(None, [])
    ordered = sorted(by_answer.items(), key=lambda group: (-len(group[1]), group[1][0].id))
    final = tree.answer.key if tree.answer else None
    kept = [group for offset, group in enumerate(ordered) if offset < MAX_GROUPS or group[0] == final]
    groups = [
        Group(nodes[0].answer.text if nodes[0].answer else "", len(nodes), _dots(nodes, outline), chosen=key == final)
        for key, nodes in kept
    ]
    names = {key for key, _ in kept}
    rest = [node for key, nodes in ordered if key not in names for node in nodes]
    if rest:
        groups.append(Group(None, len(rest), _dots(rest, outline), others=len(ordered) - len(kept)))
    if silent:
        groups.append(Group(None, len(silent), _dots(silent, outline)))
    return Groups(tuple(groups), len(tree.nodes), outline.left_out)


def _dots(nodes: list[Node], outline: Outline) -> tuple[Mark, ...]:
    return tuple(_mark(node, outline.tree, (0, 0), None, largest=8) for node in nodes if node.id in outline.shown)


def _mark(
    node: Node, tree: SearchTree, at: tuple[float, float], parent: tuple[float, float] | None, *, largest: float
) -> Mark:
    """The higher its score, the larger and stronger in colour."""
    score = node.rating.value if node.rating and node.rating.value is not None else None
    radius = min(largest, 4 if score is None else 3.5 + 3 * score)
    colour = score_bin(node)
    role = "on-path" if node.on_path else "faint" if node.state in words.FAINT else ""
    look = " ".join(filter(None, [f"s{colour}" if colour is not None else "unrated", role]))
    if node.id in tree.path[-1:]:
        look += " final"
    mark, state = words.state_of(node, tree)
    answer = words.answer_of(node, tree)
    rated = words.score_of(node)
    facts = [f"#{node.id} {mark} {state}", f"= {answer[:60]}" if answer else "",
             f"score {rated}" if node.rating else "no score", f"{node.cost.tokens:,} tokens"]  # fmt: skip
    tip = f"{', '.join(filter(None, facts))}\n{' '.join(node.text[:300].split())[:90]}"
    short = ("→ " if node.id in tree.path[-1:] else "") + answer[:12] + ("…" if len(answer) > 12 else "")
    label = " · ".join(filter(None, [short if answer else "", rated if node.rating else ""]))
    return Mark(*at, round(radius, 1), look, node, tip, label, parent)
