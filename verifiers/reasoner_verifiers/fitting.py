"""Fits a head on the hidden states of labelled sequences, and measures it on held-out questions.

Needs torch and transformers.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from reasoner.errors import UsageError
from reasoner.models.dtype import default_dtype
from reasoner.models.resolve import resolve
from reasoner.specs import Checked, Range
from reasoner.system.machine import install_vllm
from reasoner.types import Completion, Notify, Prompt, TokenIds
from reasoner_verifiers.labelled import Labelled, fitted_on, read_labelled
from reasoner_verifiers.reward.checkpoint import Head, HeadInfo, backbone_digest
from reasoner_verifiers.reward.recipes import step_ends

FOLDS = 4
RIDGES = (3e-3, 1e-2, 3e-2, 1e-1)
"""Penalties on squared weights of standardised states; cross-validation chooses one."""
LAYERS_TRIED = 6
MIN_QUESTIONS = 20
RESAMPLES = 4000
BATCH_TOKENS = 2048
"""Tokens of one forward pass, padding included."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FitOptions(Checked):
    """The options of a fit: for `layer` 0 cross-validation chooses the layer.

    `held_out` is the share of questions for the report only; `steps` fits on step labels instead of outcomes.
    """

    backbone: str = "embedded"
    layer: Annotated[int, Range(at_least=0)] = 0
    held_out: Annotated[float, Range(above=0, below=1)] = 0.25
    steps: bool = False
    seed: int = 0


class ResampledEstimate(NamedTuple):
    """A mean over questions with its 95 % interval, by bootstrap over questions."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class Fitted(NamedTuple):
    """A head and how well it rates the sequences of the held-out `questions`: its AUROC over all, and within one."""

    head: Head
    ridge: float
    questions: int
    auroc: ResampledEstimate | None
    within: ResampledEstimate | None


@dataclass(frozen=True, slots=True)
class _Rows:
    """Labelled states [rows, layers, width]; the label, the weight and the question of each row."""

    states: NDArray[np.float32]
    right: Floats
    weight: Floats
    question: NDArray[np.int64]

    def where(self, mask: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.states[mask], self.right[mask], self.weight[mask], self.question[mask])


def fit(folders: Sequence[Path], options: FitOptions, notify: Notify) -> Fitted:
    """A head fitted on the sequences in the folders of runs.

    Equal sequences are computed once and weighted by their number of samples. Cross-validation over the fitting
    questions chooses layer and penalty; the held-out questions are used for nothing else than the report.

    Raises:
        TraceError: a run cannot be read.
        UsageError: there are too few questions, or too few right or wrong answers.
    """
    judged = [sample for sample in read_labelled(folders) if sample.judged]
    names = sorted({sample.question_id for sample in judged})
    if len(names) < MIN_QUESTIONS:
        raise UsageError(f"give at least {MIN_QUESTIONS} questions with graded answers (got {len(names)})")
    random.Random(options.seed).shuffle(names)
    held_out = set(names[: max(1, round(options.held_out * len(names)))])
    resolved = resolve(options.backbone, notify)
    if resolved.folder is None:
        raise UsageError(f"{options.backbone} is not on this machine: download it first")
    backbone = Backbone.load(resolved.folder)
    layers = _layers(options.layer, backbone.layers)
    used = [sample for sample in judged if sample.question_id not in held_out]
    marked = _marked(used, backbone, steps=options.steps)
    if not 0 < sum(sum(item.right) for item in marked) < sum(len(item.right) for item in marked):
        raise UsageError("all labels are equal: give runs with right and wrong answers")
    rows = _rows(marked, backbone, layers, notify)
    index, ridge = _chosen(rows, len(layers), options.seed)
    weight, bias = logistic(rows.states[:, index], rows.right, weight=rows.weight, ridge=ridge)
    about = fitted_on(folders, used).model_dump() | {"labels": "steps" if options.steps else "outcomes"}
    info = HeadInfo(options.backbone, backbone_digest(resolved.folder), about)
    head = Head(layers[index], weight.astype(np.float32), bias, info)
    held = _marked([sample for sample in judged if sample.question_id in held_out], backbone, steps=options.steps)
    rated = _rated(held, head, backbone, notify)
    pooled, within = pooled_auroc(rated, seed=options.seed), within_auroc(rated, seed=options.seed)
    return Fitted(head, ridge, len(held_out), pooled, within)


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


def _marked(judged: Sequence[Labelled], backbone: "Backbone", *, steps: bool) -> list[_Marked]:
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


def _rows(marked: Sequence[_Marked], backbone: "Backbone", layers: Sequence[int], notify: Notify) -> _Rows:
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


def logistic(x: NDArray[np.float32], y: Floats, *, weight: Floats, ridge: float) -> tuple[Floats, float]:
    """The slopes [d] and the intercept of a logistic regression of labels y [n] on x [n, d].

    `weight` [n] counts rows. `ridge` is the penalty on squared slopes of standardised columns.
    """
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), np.float32(1e-6))
    z, share = (x - mean) / scale, weight / weight.sum()

    def loss(w: Floats) -> tuple[float, Floats]:
        logits = z @ w[:-1].astype(z.dtype) + w[-1]
        value = share @ (np.logaddexp(0, logits) - y * logits) + ridge / 2 * w[:-1] @ w[:-1]
        slope = share * (special.expit(logits) - y)
        return float(value), np.append(slope.astype(z.dtype) @ z + ridge * w[:-1], slope.sum())

    start = np.zeros(z.shape[1] + 1)
    solution = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    slopes = solution[:-1] / scale
    return slopes, float(solution[-1] - slopes @ mean)


Rated = tuple[float, bool]
"""A verifier's value of a sequence or step, and whether it is right."""


def _rated(marked: Sequence[_Marked], head: Head, backbone: "Backbone", notify: Notify) -> list[list[Rated]]:
    """The values of a head for the labelled positions of each question."""
    notify(f"rating {len(marked):,} distinct sequences of the held-out questions")
    states = backbone.states([item.ids for item in marked], [item.positions for item in marked], [head.layer], notify)
    rated: dict[str, list[Rated]] = defaultdict(list)
    for item, state in zip(marked, states, strict=True):
        values = special.expit(head.logit(state[0])).tolist()
        rated[item.sample.question_id] += list(zip(values, item.right, strict=True)) * item.samples
    return list(rated.values())


def auroc(rated: Sequence[Rated]) -> float | None:
    """The probability that a right answer is rated above a wrong one, ties count half; None without both kinds."""
    right = np.asarray([label for _, label in rated], dtype=bool)
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative:
        return None
    ranks = stats.rankdata([value for value, _ in rated])
    return float((ranks[right].sum() - positive * (positive + 1) / 2) / (positive * negative))


def pooled_auroc(questions: Sequence[Sequence[Rated]], *, seed: int = 0) -> ResampledEstimate | None:
    """AUROC over all rated answers; the interval resamples whole questions."""

    def over(groups: Sequence[Sequence[Rated]]) -> float | None:
        return auroc([rated for group in groups for rated in group])

    value = over(questions)
    if value is None:
        return None
    source = random.Random(seed)
    draws = (over(source.choices(questions, k=len(questions))) for _ in range(RESAMPLES // 10))
    low, high = np.percentile([draw for draw in draws if draw is not None], [2.5, 97.5])
    return ResampledEstimate(value, float(low), float(high))


def within_auroc(questions: Sequence[Sequence[Rated]], *, seed: int = 0) -> ResampledEstimate | None:
    """The mean AUROC within a question, over the questions that have both a right and a wrong answer."""
    own = np.array([value for value in map(auroc, questions) if value is not None])
    if not len(own):
        return None
    draws = np.random.default_rng(seed).integers(0, len(own), size=(RESAMPLES, len(own)))
    low, high = np.percentile(own[draws].mean(axis=1), [2.5, 97.5])
    return ResampledEstimate(float(own.mean()), float(low), float(high))


@dataclass(slots=True)
class Backbone:
    """A causal model that is loaded for reading its hidden states."""

    tokenizer: Any
    model: Any
    layers: int

    @classmethod
    def load(cls, folder: Path) -> "Backbone":
        """The model in `folder`, in the fastest number type of this processor.

        Raises:
            UsageError: torch or transformers is missing.
        """
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise UsageError(f"fitting needs {error.name}: run `{install_vllm()}`") from error
        model = AutoModel.from_pretrained(folder, dtype=default_dtype(folder).dtype).eval()
        return cls(AutoTokenizer.from_pretrained(folder), model, model.config.num_hidden_layers)

    def ids(self, prompt: Prompt) -> TokenIds:
        """A prompt as the engine renders it, with the generated token ids that continue it."""
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        if prompt.raw or not self.tokenizer.chat_template:
            text = prompt.raw or "\n\n".join(turn["content"] for turn in turns)
            return (*self.tokenizer.encode(text), *prompt.token_ids)
        text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return (*self.tokenizer.encode(text, add_special_tokens=False), *prompt.token_ids)

    def step_ends(self, ids: TokenIds, completion: Completion) -> tuple[int, ...]:
        """The positions in `ids` at which the steps of a completion are read, as a served head reads them."""
        generated = completion.prompt.token_ids + completion.continuation
        head = len(ids) - len(generated)
        return tuple(head + end for end in step_ends(generated, self.tokenizer.decode, "\n\n"))

    def states(
        self, sequences: Sequence[TokenIds], positions: Sequence[Sequence[int]], layers: Sequence[int], notify: Notify
    ) -> list[NDArray[np.float32]]:
        """For each sequence an array [layers, positions, width]: the states after these layers and the final norm.

        It takes minutes for thousands of sequences; `notify` gets a message after each tenth.
        """
        import torch

        states: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(sequences)
        done = 0
        for batch in _batches(sequences):
            longest = max(len(sequences[i]) for i in batch)
            ids, mask = torch.zeros((2, len(batch), longest), dtype=torch.long)
            for row, i in enumerate(batch):
                ids[row, : len(sequences[i])] = torch.tensor(sequences[i])
                mask[row, : len(sequences[i])] = 1
            with torch.inference_mode():
                hidden = self.model(ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
                for row, i in enumerate(batch):
                    columns = torch.tensor(list(positions[i]), dtype=torch.long)
                    picked = [(layer, hidden[layer][row, columns]) for layer in layers]
                    # The last layer's state has passed the final norm already.
                    normed = [state if at == self.layers else self.model.norm(state) for at, state in picked]
                    states[i] = np.stack([state.float().numpy() for state in normed])
            before, done = done, done + len(batch)
            if 10 * before // len(sequences) < 10 * done // len(sequences) < 10:
                notify(f"{done:,} of {len(sequences):,} sequences read")
        return states


def _batches(sequences: Sequence[TokenIds]) -> list[list[int]]:
    """Indices of sequences of similar length, at most `BATCH_TOKENS` tokens with padding per batch."""
    batches: list[list[int]] = []
    for index in sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), i)):
        length = len(sequences[index])
        if batches and length * (len(batches[-1]) + 1) <= BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
