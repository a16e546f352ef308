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

from reasoner.errors import UsageError
from reasoner.models.resolve import resolve
from reasoner.types import Notify
from reasoner_verifiers.checkpoint import Head, HeadInfo, backbone_digest
from reasoner_verifiers.features import Backbone
from reasoner_verifiers.labelled import Labelled, fitted_on, read_labelled
from reasoner_verifiers.measures import Estimate, Rated, Selection, pooled_auroc, selection, within_auroc

FOLDS = 4
RIDGES = (1e-3, 1e-2, 1e-1)
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
        if self.layer < 0 or self.hidden < 0 or not 0 < self.held_out < 1:
            raise UsageError("layer and hidden are 0 or more, held_out is above 0 and below 1")


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
    labelled = [one for one in read_labelled(folders) if one.sampled.finish_reason == "stop"]
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
    rows = _rows([one for one in judged if one.question_id not in kept], backbone, layers, notify)
    place, ridge = _chosen(rows, len(layers), recipe.seed)
    about = fitted_on(folders, [one for one in judged if one.question_id not in kept])
    info = HeadInfo(recipe.backbone, backbone_digest(resolved.folder), about.model_dump())
    head = _head(rows, place, ridge, layers[place], recipe, info)
    held = [one for one in labelled if one.question_id in kept]
    return Fitted(head, report(held, head, backbone, ridge, recipe.seed, notify))


def _layers(wanted: int, most: int) -> tuple[int, ...]:
    if wanted > most:
        raise UsageError(f"layer={wanted} is out of range: the backbone has {most} layers")
    return (wanted,) if wanted else tuple(sorted({max(1, round(most * k / LAYERS_TRIED)) for k in range(1, 7)}))


def _rows(judged: Sequence[Labelled], backbone: Backbone, layers: Sequence[int], notify: Notify) -> _Rows:
    """One row for each distinct sequence of a question."""
    drawn: dict[tuple[str, tuple[int, ...]], list[Labelled]] = defaultdict(list)
    for one in judged:
        drawn[one.question_id, backbone.ids(one.completion.prompt.then(one.completion))].append(one)
    sequences = [ids for _, ids in drawn]
    notify(f"reading the states of {len(sequences):,} distinct sequences, {len(judged):,} drawn")
    states = backbone.states(sequences, [[len(ids) - 1] for ids in sequences], layers)
    names = {name: number for number, name in enumerate(sorted({name for name, _ in drawn}))}
    return _Rows(
        np.stack([one[:, 0] for one in states]),
        np.array([group[0].right for group in drawn.values()], dtype=np.float64),
        np.array([len(group) for group in drawn.values()], dtype=np.float64),
        np.array([names[name] for name, _ in drawn]),
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
    mean, scale = states.mean(axis=0, dtype=np.float64), states.std(axis=0, dtype=np.float64) + 1e-6
    z, share = (states - mean) / scale, weight / weight.sum()

    def loss(w: Floats) -> tuple[float, Floats]:
        logits = z @ w[:-1] + w[-1]
        slope = share * (special.expit(logits) - right)
        value = share @ (np.logaddexp(0, logits) - right * logits) + ridge / 2 * w[:-1] @ w[:-1]
        return float(value), np.append(z.T @ slope + ridge * w[:-1], slope.sum())

    found = optimize.minimize(loss, np.zeros(z.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
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


def report(held: Sequence[Labelled], head: Head, backbone: Backbone, ridge: float, seed: int, notify: Notify) -> Report:
    """What a head is worth on sequences of questions that it was not fitted on."""
    drawn = {backbone.ids(one.completion.prompt.then(one.completion)): one for one in held if one.judged}
    sequences = list(drawn)
    notify(f"rating {len(sequences):,} distinct sequences of the questions held out")
    states = backbone.states(sequences, [[len(ids) - 1] for ids in sequences], [head.layer])
    values = {ids: float(special.expit(head.logit(one[0, 0]))) for ids, one in zip(sequences, states, strict=True)}
    groups: dict[str, list[Rated]] = defaultdict(list)
    for one in held:
        ids = backbone.ids(one.completion.prompt.then(one.completion))
        value = values[ids] if one.judged else None
        groups[one.question_id].append(Rated(one.sampled.answer if one.judged else None, one.right, value))
    questions = list(groups.values())
    most = min(map(len, questions))
    sizes = sorted({min(n, most) for n in (4, 8, most)})
    return Report(
        head.layer,
        ridge,
        len(questions),
        pooled_auroc(questions, seed=seed),
        within_auroc(questions, seed=seed),
        tuple(selection(questions, n, seed=seed) for n in sizes),
    )
