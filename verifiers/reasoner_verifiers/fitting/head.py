"""Fits a head on labelled sequences, and measures it on held-out questions."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from reasoner.errors import UsageError, require
from reasoner.models.resolve import resolve
from reasoner.types import Notify, TokenIds
from reasoner_verifiers.fitting.features import Backbone
from reasoner_verifiers.fitting.labelled import Labelled, fitted_on, read_labelled
from reasoner_verifiers.fitting.measures import Estimate, Rated, Selection, pooled_auroc, selection, within_auroc
from reasoner_verifiers.maps import logistic
from reasoner_verifiers.reward.checkpoint import Head, HeadInfo, backbone_digest

FOLDS = 4
RIDGES = (3e-3, 1e-2, 3e-2, 1e-1)
"""Penalties on squared weights of standardised states; cross-validation chooses one."""
LAYERS_TRIED = 6
MIN_QUESTIONS = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The options of a fit: for `layer` 0 cross-validation chooses the layer; `hidden` 0 is a linear head.

    `held_out` is the share of questions for the report only; `steps` fits on step labels instead of outcomes.
    """

    backbone: str = "embedded"
    layer: int = 0
    hidden: int = 0
    held_out: float = 0.25
    steps: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.layer, "layer", at_least=0)
        require(self.hidden, "hidden", at_least=0)
        require(self.held_out, "held_out", above=0, below=1)


class Report(NamedTuple):
    """How well a head rates the held-out questions."""

    layer: int
    ridge: float
    questions: int
    auroc: Estimate | None
    within: Estimate | None
    selections: tuple[Selection, ...]


class Fitted(NamedTuple):
    """A head and its report."""

    head: Head
    report: Report


@dataclass(frozen=True, slots=True)
class _Rows:
    """Labelled states [rows, layers, width]; the label, the weight and the question of each row."""

    states: NDArray[np.float32]
    right: Floats
    weight: Floats
    question: NDArray[np.int64]

    def where(self, mask: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.states[mask], self.right[mask], self.weight[mask], self.question[mask])


def fit(folders: Sequence[Path], recipe: Recipe, notify: Notify) -> Fitted:
    """A head fitted on the sequences in the folders of runs.

    Equal sequences are computed once and weighted by their number of samples. Cross-validation over the fitting
    questions chooses layer and penalty; the questions of the report are used for nothing else.

    Raises:
        TraceError: a run cannot be read.
        UsageError: there are too few questions, or too few right or wrong answers.
    """
    labelled = read_labelled(folders)
    judged = [sample for sample in labelled if sample.judged]
    names = sorted({sample.question_id for sample in judged})
    if len(names) < MIN_QUESTIONS:
        raise UsageError(f"give at least {MIN_QUESTIONS} questions with graded answers (got {len(names)})")
    random.Random(recipe.seed).shuffle(names)
    held_out = set(names[: max(1, round(recipe.held_out * len(names)))])
    resolved = resolve(recipe.backbone, notify)
    if resolved.folder is None:
        raise UsageError(f"{recipe.backbone} is not on this machine: download it first")
    backbone = Backbone.load(resolved.folder)
    layers = _layers(recipe.layer, backbone.layers)
    used = [sample for sample in judged if sample.question_id not in held_out]
    marked = _marked(used, backbone, steps=recipe.steps)
    if not 0 < sum(sum(item.right) for item in marked) < sum(len(item.right) for item in marked):
        raise UsageError("all labels are equal: give runs with right and wrong answers")
    rows = _rows(marked, backbone, layers, notify)
    index, ridge = _chosen(rows, len(layers), recipe.seed)
    about = fitted_on(folders, used).model_dump() | {"labels": "steps" if recipe.steps else "outcomes"}
    info = HeadInfo(recipe.backbone, backbone_digest(resolved.folder), about)
    head = _head(rows, index, ridge, layers[index], recipe, info)
    held = [sample for sample in labelled if sample.question_id in held_out]
    return Fitted(head, report(held, head, backbone, ridge, recipe, notify))


def _layers(wanted: int, count: int) -> tuple[int, ...]:
    if wanted > count:
        raise UsageError(f"layer must be at most {count}, the layers of the backbone (got {wanted})")
    tried = {max(1, round(count * k / LAYERS_TRIED)) for k in range(1, LAYERS_TRIED + 1)}
    return (wanted,) if wanted else tuple(sorted(tried))


class _Marked(NamedTuple):
    """A distinct sequence: its number of samples, one of them, and the labelled positions."""

    ids: TokenIds
    samples: int
    sample: Labelled
    positions: tuple[int, ...]
    right: tuple[bool, ...]


def _marked(judged: Sequence[Labelled], backbone: Backbone, *, steps: bool) -> list[_Marked]:
    """The distinct sequences of each question. Outcomes are labelled at the last token, steps at their ends."""
    groups: dict[tuple[str, TokenIds], list[Labelled]] = defaultdict(list)
    for sample in judged:
        ids = backbone.ids(sample.completion.prompt.then(sample.completion))
        groups[sample.question_id, ids].append(sample)
    marked = []
    for (_, ids), group in groups.items():
        sample = group[0]
        marks: list[tuple[int, bool]] = [(len(ids) - 1, sample.right)]
        if steps:
            ends = backbone.step_ends(ids, sample.completion)
            if len(ends) != len(sample.grade.steps):
                raise UsageError(
                    f"a sequence of {sample.question_id} has {len(ends)} steps but {len(sample.grade.steps)} grades"
                )
            marks = [(end, label) for end, label in zip(ends, sample.grade.steps, strict=True) if label is not None]
        if marks:
            positions, right = zip(*marks, strict=True)
            marked.append(_Marked(ids, len(group), sample, positions, right))
    return marked


def _rows(marked: Sequence[_Marked], backbone: Backbone, layers: Sequence[int], notify: Notify) -> _Rows:
    samples = sum(item.samples for item in marked)
    notify(f"reading the states of {len(marked):,} distinct sequences ({samples:,} samples)")
    states = backbone.states([item.ids for item in marked], [item.positions for item in marked], layers, notify)
    names = {name: number for number, name in enumerate(sorted({item.sample.question_id for item in marked}))}
    return _Rows(
        np.concatenate([state.swapaxes(0, 1) for state in states]),
        np.array([right for item in marked for right in item.right], dtype=np.float64),
        np.array([item.samples for item in marked for _ in item.right], dtype=np.float64),
        np.array([names[item.sample.question_id] for item in marked for _ in item.right]),
    )


def _chosen(rows: _Rows, layers: int, seed: int) -> tuple[int, float]:
    """The layer's index and the penalty with the lowest log loss in cross-validation over questions."""
    fold = np.random.default_rng(seed).permutation(int(rows.question.max()) + 1)[rows.question] % FOLDS
    losses: dict[tuple[int, float], float] = {}
    for index in range(layers):
        for ridge in RIDGES:
            losses[index, ridge] = float(np.mean([_left_out(rows, fold == k, index, ridge) for k in range(FOLDS)]))
    return min(losses, key=lambda key: (losses[key], key))


def _left_out(rows: _Rows, out: NDArray[np.bool_], index: int, ridge: float) -> float:
    fitting, left = rows.where(~out), rows.where(out)
    w, b = logistic(fitting.states[:, index], fitting.right, weight=fitting.weight, ridge=ridge)
    logits = left.states[:, index] @ w + b
    return float(np.average(np.logaddexp(0, logits) - left.right * logits, weights=left.weight))


def _head(rows: _Rows, index: int, ridge: float, layer: int, recipe: Recipe, info: HeadInfo) -> Head:
    states = rows.states[:, index]
    if recipe.hidden:
        return Head(layer, *_one_hidden(states, rows, ridge, recipe), info)
    w, b = logistic(states, rows.right, weight=rows.weight, ridge=ridge)
    return Head(layer, None, None, w.astype(np.float32), b, info)


def _one_hidden(
    states: NDArray[np.float32], rows: _Rows, ridge: float, recipe: Recipe
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], float]:
    """W1, b1, w2, b2 of a head with one hidden layer, by full-batch gradient descent."""
    import torch

    mean, scale = states.mean(axis=0), states.std(axis=0) + 1e-6
    z = torch.from_numpy((states - mean) / scale).float()
    right, share = (torch.from_numpy(a).float() for a in (rows.right, rows.weight / rows.weight.sum()))
    source = torch.Generator().manual_seed(recipe.seed)
    w1 = torch.randn(recipe.hidden, z.shape[1], generator=source) / z.shape[1] ** 0.5
    w2 = torch.randn(recipe.hidden, generator=source) / recipe.hidden**0.5
    b1, b2 = torch.zeros(recipe.hidden), torch.zeros(1)
    parameters = [tensor.requires_grad_() for tensor in (w1, b1, w2, b2)]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(300):
        logits = torch.relu(z @ w1.T + b1) @ w2 + b2
        loss = share @ torch.nn.functional.binary_cross_entropy_with_logits(logits, right, reduction="none")
        penalty = ridge / 2 * (w1.square().sum() + w2.square().sum())
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
    first, shift, second, last = (tensor.detach().numpy() for tensor in parameters)
    inner = first / scale
    return inner, shift - inner @ mean, second, float(last[0])


def report(
    held: Sequence[Labelled], head: Head, backbone: Backbone, ridge: float, recipe: Recipe, notify: Notify
) -> Report:
    """How well a head rates sequences of held-out questions."""
    marked = _marked([sample for sample in held if sample.judged], backbone, steps=recipe.steps)
    notify(f"rating {len(marked):,} distinct sequences of the held-out questions")
    ends = [(*item.positions, len(item.ids) - 1) for item in marked]
    states = backbone.states([item.ids for item in marked], ends, [head.layer], notify)
    labelled: dict[str, list[Rated]] = defaultdict(list)
    value_of: dict[TokenIds, float] = {}
    for item, state in zip(marked, states, strict=True):
        *values, value_of[item.ids] = special.expit(head.logit(state[0])).tolist()
        rated = [Rated(None, right, value) for right, value in zip(item.right, values, strict=True)]
        labelled[item.sample.question_id] += rated * item.samples
    groups: dict[str, list[Rated]] = defaultdict(list)
    for sample in held:
        ids = backbone.ids(sample.completion.prompt.then(sample.completion))
        answer = sample.sampled.answer if sample.judged else None
        value = value_of.get(ids) if sample.judged else None
        groups[sample.question_id].append(Rated(answer, sample.right, value))
    fewest, own = min(map(len, groups.values())), list(labelled.values())
    sizes = sorted({min(n, fewest) for n in (4, 8, fewest)})
    selections = tuple(selection(list(groups.values()), n, seed=recipe.seed) for n in sizes)
    pooled, within = pooled_auroc(own, seed=recipe.seed), within_auroc(own, seed=recipe.seed)
    return Report(head.layer, ridge, len(groups), pooled, within, selections)
