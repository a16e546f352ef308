"""Fitting a head: from labelled sequences to a reward model, with its worth on questions it never saw."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from reasoner.errors import UsageError, require
from reasoner.models.resolve import resolve
from reasoner.types import Notify, TokenIds
from reasoner_verifiers.fitting.features import Backbone
from reasoner_verifiers.fitting.labelled import Labelled, fitted_on, read_labelled
from reasoner_verifiers.fitting.measures import Estimate, Rated, Selection, pooled_auroc, selection, within_auroc
from reasoner_verifiers.reward.checkpoint import Head, HeadInfo, backbone_digest

FOLDS = 4
RIDGES = (3e-3, 1e-2, 3e-2, 1e-1)
"""Penalties on squared weights of standardised states, tried on folds of the fitting questions."""
LAYERS_TRIED = 6
LEAST_QUESTIONS = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is fitted: on which model's states, of which layer (0: by folds), with how many hidden units (0: none).

    `held_out` is the share of questions kept for the report; `steps` fits on step labels rather than outcomes.
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
    """What the held-out questions say of a head."""

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
    """Labelled states: [rows, layers, width], the label and weight of each row, and its question."""

    states: NDArray[np.float32]
    right: Floats
    weight: Floats
    question: NDArray[np.int64]

    def where(self, mask: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.states[mask], self.right[mask], self.weight[mask], self.question[mask])


def fit(folders: Sequence[Path], recipe: Recipe, notify: Notify) -> Fitted:
    """The head that the sequences in these runs' folders teach.

    Equal sequences are computed once and weigh as often as they were drawn. Layer and penalty are chosen by folds of
    the fitting questions; the questions of the report take no part in anything.

    Raises:
        TraceError: a run cannot be read.
        UsageError: there are too few questions, or too few right or wrong answers.
    """
    labelled = read_labelled(folders)
    judged = [one for one in labelled if one.judged]
    names = sorted({one.question_id for one in judged})
    if len(names) < LEAST_QUESTIONS:
        raise UsageError(f"{len(names)} questions with graded answers fit nothing: give {LEAST_QUESTIONS} or more")
    random.Random(recipe.seed).shuffle(names)
    kept = set(names[: max(1, round(recipe.held_out * len(names)))])
    resolved = resolve(recipe.backbone, notify)
    if resolved.folder is None:
        raise UsageError(f"{recipe.backbone} is not on this machine: fetch it first")
    backbone = Backbone.load(resolved.folder)
    layers = _layers(recipe.layer, backbone.layers)
    used = [one for one in judged if one.question_id not in kept]
    marked = _marked(used, backbone, steps=recipe.steps)
    if not 0 < sum(sum(one.right) for one in marked) < sum(len(one.right) for one in marked):
        raise UsageError(
            "the labels are all alike, so that nothing can be learned: give runs with right and wrong ones"
        )
    rows = _rows(marked, backbone, layers, notify)
    place, ridge = _chosen(rows, len(layers), recipe.seed)
    about = fitted_on(folders, used).model_dump() | {"labels": "steps" if recipe.steps else "outcomes"}
    head = _head(
        rows, place, ridge, layers[place], recipe, HeadInfo(recipe.backbone, backbone_digest(resolved.folder), about)
    )
    held = [one for one in labelled if one.question_id in kept]
    return Fitted(head, report(held, head, backbone, ridge, recipe, notify))


def _layers(wanted: int, most: int) -> tuple[int, ...]:
    if wanted > most:
        raise UsageError(f"layer={wanted} is out of range: the backbone has {most} layers")
    return (wanted,) if wanted else tuple(sorted({max(1, round(most * k / LAYERS_TRIED)) for k in range(1, 7)}))


class _Marked(NamedTuple):
    """A distinct sequence: how often it was drawn, one of these draws, and the labels of places in it."""

    ids: TokenIds
    drawn: int
    one: Labelled
    places: tuple[int, ...]
    right: tuple[bool, ...]


def _marked(judged: Sequence[Labelled], backbone: Backbone, *, steps: bool) -> list[_Marked]:
    """The distinct sequences of each question. An outcome is marked at the last token, a step where it ends."""
    groups: dict[tuple[str, TokenIds], list[Labelled]] = defaultdict(list)
    for one in judged:
        groups[one.question_id, backbone.ids(one.completion.prompt.then(one.completion))].append(one)
    found = []
    for (_, ids), group in groups.items():
        one = group[0]
        marks: list[tuple[int, bool]] = [(len(ids) - 1, one.right)]
        if steps:
            ends = backbone.step_ends(ids, one.completion)
            if len(ends) != len(one.grade.steps):
                raise UsageError(
                    f"a sequence of {one.question_id} has {len(ends)} steps and {len(one.grade.steps)} grades"
                )
            marks = [(end, label) for end, label in zip(ends, one.grade.steps, strict=True) if label is not None]
        if marks:
            places, right = zip(*marks, strict=True)
            found.append(_Marked(ids, len(group), one, places, right))
    return found


def _rows(marked: Sequence[_Marked], backbone: Backbone, layers: Sequence[int], notify: Notify) -> _Rows:
    notify(f"reading the states of {len(marked):,} distinct sequences, {sum(one.drawn for one in marked):,} drawn")
    states = backbone.states([one.ids for one in marked], [one.places for one in marked], layers, notify)
    names = {name: number for number, name in enumerate(sorted({one.one.question_id for one in marked}))}
    return _Rows(
        np.concatenate([one.swapaxes(0, 1) for one in states]),
        np.array([right for one in marked for right in one.right], dtype=np.float64),
        np.array([one.drawn for one in marked for _ in one.right], dtype=np.float64),
        np.array([names[one.one.question_id] for one in marked for _ in one.right]),
    )


def _chosen(rows: _Rows, layers: int, seed: int) -> tuple[int, float]:
    """The layer's place and the penalty with the least log loss on questions left out, fold by fold."""
    fold = np.random.default_rng(seed).permutation(int(rows.question.max()) + 1)[rows.question] % FOLDS
    losses: dict[tuple[int, float], float] = {}
    for place in range(layers):
        for ridge in RIDGES:
            losses[place, ridge] = float(np.mean([_left_out(rows, fold == k, place, ridge) for k in range(FOLDS)]))
    return min(losses, key=lambda key: (losses[key], key))


def _left_out(rows: _Rows, out: NDArray[np.bool_], place: int, ridge: float) -> float:
    fitting, left = rows.where(~out), rows.where(out)
    w, b = linear(fitting.states[:, place], fitting.right, fitting.weight, ridge)
    logits = left.states[:, place] @ w + b
    return float(np.average(np.logaddexp(0, logits) - left.right * logits, weights=left.weight))


def linear(states: NDArray[np.float32], right: Floats, weight: Floats, ridge: float) -> tuple[Floats, float]:
    """Weights and intercept of a logistic regression on the standardised states, in the states' own scale."""
    mean, scale = states.mean(axis=0), states.std(axis=0) + np.float32(1e-6)
    z, share = (states - mean) / scale, weight / weight.sum()

    def loss(w: Floats) -> tuple[float, Floats]:
        logits = z @ w[:-1].astype(np.float32) + w[-1]
        slope = share * (special.expit(logits) - right)
        value = share @ (np.logaddexp(0, logits) - right * logits) + ridge / 2 * w[:-1] @ w[:-1]
        return float(value), np.append(slope.astype(np.float32) @ z + ridge * w[:-1], slope.sum())

    found = optimize.minimize(loss, np.zeros(z.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    w = found[:-1] / scale
    return w, float(found[-1] - w @ mean)


def _head(rows: _Rows, place: int, ridge: float, layer: int, recipe: Recipe, info: HeadInfo) -> Head:
    states = rows.states[:, place]
    if recipe.hidden:
        return Head(layer, *_one_hidden(states, rows, ridge, recipe), info)
    w, b = linear(states, rows.right, rows.weight, ridge)
    return Head(layer, None, None, w.astype(np.float32), b, info)


def _one_hidden(
    states: NDArray[np.float32], rows: _Rows, ridge: float, recipe: Recipe
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], float]:
    """W1, b1, w2, b2 of a head with one hidden layer, by gradient descent on the whole set."""
    import torch

    mean, scale = states.mean(axis=0), states.std(axis=0) + 1e-6
    z = torch.from_numpy((states - mean) / scale).float()
    right, share = (torch.from_numpy(a).float() for a in (rows.right, rows.weight / rows.weight.sum()))
    source = torch.Generator().manual_seed(recipe.seed)
    w1 = torch.randn(recipe.hidden, z.shape[1], generator=source) / z.shape[1] ** 0.5
    w2 = torch.randn(recipe.hidden, generator=source) / recipe.hidden**0.5
    b1, b2 = torch.zeros(recipe.hidden), torch.zeros(1)
    parameters = [one.requires_grad_() for one in (w1, b1, w2, b2)]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(300):
        logits = torch.relu(z @ w1.T + b1) @ w2 + b2
        loss = share @ torch.nn.functional.binary_cross_entropy_with_logits(logits, right, reduction="none")
        penalty = ridge / 2 * (w1.square().sum() + w2.square().sum())
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
    first, shift, second, last = (one.detach().numpy() for one in parameters)
    inner = first / scale
    return inner, shift - inner @ mean, second, float(last[0])


def report(
    held: Sequence[Labelled], head: Head, backbone: Backbone, ridge: float, recipe: Recipe, notify: Notify
) -> Report:
    """What a head is worth on sequences of questions that it was not fitted on."""
    marked = _marked([one for one in held if one.judged], backbone, steps=recipe.steps)
    notify(f"rating {len(marked):,} distinct sequences of the questions held out")
    ends = [(*one.places, len(one.ids) - 1) for one in marked]
    states = backbone.states([one.ids for one in marked], ends, [head.layer], notify)
    values = [special.expit(head.logit(one[0])).tolist() for one in states]
    labelled: dict[str, list[Rated]] = defaultdict(list)
    last: dict[TokenIds, float] = {}
    for one, found in zip(marked, values, strict=True):
        last[one.ids] = found[-1]
        places = [Rated(None, right, value) for right, value in zip(one.right, found[:-1], strict=True)]
        labelled[one.one.question_id] += places * one.drawn
    groups: dict[str, list[Rated]] = defaultdict(list)
    for candidate in held:
        ids = backbone.ids(candidate.completion.prompt.then(candidate.completion))
        answer = candidate.sampled.answer if candidate.judged else None
        value = last.get(ids) if candidate.judged else None
        groups[candidate.question_id].append(Rated(answer, candidate.right, value))
    most = min(map(len, groups.values()))
    return Report(
        head.layer,
        ridge,
        len(groups),
        pooled_auroc(list(labelled.values()), seed=recipe.seed),
        within_auroc(list(labelled.values()), seed=recipe.seed),
        tuple(
            selection(list(groups.values()), n, seed=recipe.seed) for n in sorted({min(n, most) for n in (4, 8, most)})
        ),
    )
