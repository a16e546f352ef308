"""Fits a head on the hidden states of labelled sequences, and measures it on held-out questions.

Needs torch and transformers.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from reasoner.errors import UsageError
from reasoner.models.geometry import default_dtype
from reasoner.models.resolve import resolve
from reasoner.system.machine import install_vllm
from reasoner.system.printing import counted
from reasoner.types import Notify, Prompt, TokenIds
from reasoner_verifiers.labelled import LabelledSequence, fitted_on, read_labelled
from reasoner_verifiers.reward.checkpoint import Head, HeadInfo, backbone_digest

FOLDS = 4
LAYERS_TRIED = 6
MIN_QUESTIONS = 20
RESAMPLES = 400
BATCH_TOKENS = 2048
"""Tokens of one forward pass, padding included."""

Floats = NDArray[np.float64]
T = TypeVar("T")


class ResampledEstimate(NamedTuple):
    """A mean over questions with its 95 % interval, by bootstrap over questions."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class FittedHead(NamedTuple):
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
        return _Rows(
            self.states[mask], self.right[mask], self.weight[mask], self.question[mask]
        )


def fit(folders: Sequence[Path], backbone_name: str, notify: Notify) -> FittedHead:
    """A head fitted on the sequences in the folders of runs.

    Equal sequences are computed once and weighted by their number of samples. Cross-validation over the fitting
    questions chooses layer and penalty; the others, a quarter, are used for nothing but the report.

    Raises:
        TraceError: a run cannot be read.
        UsageError: there are too few questions, or too few right or wrong answers.
    """
    judged = [sample for sample in read_labelled(folders) if sample.judged]
    names = sorted({sample.question_id for sample in judged})
    if len(names) < MIN_QUESTIONS:
        raise UsageError(
            f"give at least {MIN_QUESTIONS} questions with graded answers (got {len(names)})"
        )
    random.Random(0).shuffle(names)
    # The share of questions for the report only
    held_out = set(names[: round(0.25 * len(names))])
    resolved = resolve(backbone_name, notify)
    if resolved.folder is None:
        raise UsageError(f"{backbone_name} is not on this machine: download it first")
    backbone = Backbone.load(resolved.folder)
    layers = sorted(
        {
            max(1, round(backbone.layers * k / LAYERS_TRIED))
            for k in range(1, LAYERS_TRIED + 1)
        }
    )
    used = [sample for sample in judged if sample.question_id not in held_out]
    if len({sample.right for sample in used}) < 2:
        raise UsageError("all labels are equal: give runs with right and wrong answers")
    rows = _rows(_distinct(used, backbone), backbone, layers, notify)
    index, ridge = _chosen(rows, len(layers))
    weight, bias = logistic(
        rows.states[:, index], rows.right, weight=rows.weight, ridge=ridge
    )
    about = fitted_on(used) | {"labels": "outcomes"}
    info = HeadInfo(backbone_name, backbone_digest(resolved.folder), about)
    head = Head(layers[index], weight.astype(np.float32), bias, info)
    held = [sample for sample in judged if sample.question_id in held_out]
    rated = _rated(_distinct(held, backbone), head, backbone, notify)
    pooled, within = pooled_auroc(rated), within_auroc(rated)
    return FittedHead(head, ridge, len(held_out), pooled, within)


class _Sequence(NamedTuple):
    """A distinct sequence of a question, whether its answer is right, and its number of samples."""

    question_id: str
    ids: TokenIds
    right: bool
    samples: int


def _distinct(
    judged: Sequence[LabelledSequence], backbone: "Backbone"
) -> list[_Sequence]:
    counts = Counter(
        (
            sample.question_id,
            backbone.ids(sample.completion.prompt.then(sample.completion)),
            sample.right,
        )
        for sample in judged
    )
    return [_Sequence(*key, samples) for key, samples in counts.items()]


def _rows(
    sequences: Sequence[_Sequence],
    backbone: "Backbone",
    layers: Sequence[int],
    notify: Notify,
) -> _Rows:
    samples = sum(each.samples for each in sequences)
    notify(
        f"reading the states of {len(sequences):,} distinct sequences ({counted(samples, 'sample')})"
    )
    numbers = {
        name: number
        for number, name in enumerate(sorted({each.question_id for each in sequences}))
    }
    return _Rows(
        backbone.states([each.ids for each in sequences], layers, notify),
        np.array([each.right for each in sequences], dtype=np.float64),
        np.array([each.samples for each in sequences], dtype=np.float64),
        np.array([numbers[each.question_id] for each in sequences]),
    )


def _chosen(rows: _Rows, layers: int) -> tuple[int, float]:
    """The layer's index and the penalty with the lowest log loss in cross-validation over questions."""
    fold = (
        np.random.default_rng(0).permutation(int(rows.question.max()) + 1)[
            rows.question
        ]
        % FOLDS
    )
    losses: dict[tuple[int, float], float] = {}
    for index in range(layers):
        # Penalties on squared weights of standardised states; cross-validation chooses one
        for ridge in (3e-3, 1e-2, 3e-2, 1e-1):
            losses[index, ridge] = float(
                np.mean(
                    [_left_out(rows, fold == k, index, ridge) for k in range(FOLDS)]
                )
            )
    return min(losses, key=lambda key: (losses[key], key))


def _left_out(rows: _Rows, out: NDArray[np.bool_], index: int, ridge: float) -> float:
    fitting, left = rows.where(~out), rows.where(out)
    w, b = logistic(
        fitting.states[:, index], fitting.right, weight=fitting.weight, ridge=ridge
    )
    logits = left.states[:, index] @ w + b
    return float(
        np.average(np.logaddexp(0, logits) - left.right * logits, weights=left.weight)
    )


def logistic(
    x: NDArray[np.float32], y: Floats, *, weight: Floats, ridge: float
) -> tuple[Floats, float]:
    """The slopes [d] and the intercept of a logistic regression of labels y [n] on x [n, d].

    `weight` [n] counts rows. `ridge` is the penalty on squared slopes of standardised columns.
    """
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), np.float32(1e-6))
    z, share = (x - mean) / scale, weight / weight.sum()

    def loss(w: Floats) -> tuple[float, Floats]:
        logits = z @ w[:-1].astype(z.dtype) + w[-1]
        value = (
            share @ (np.logaddexp(0, logits) - y * logits) + ridge / 2 * w[:-1] @ w[:-1]
        )
        slope = share * (special.expit(logits) - y)
        return float(value), np.append(
            slope.astype(z.dtype) @ z + ridge * w[:-1], slope.sum()
        )

    start = np.zeros(z.shape[1] + 1)
    solution = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}
    ).x
    slopes = solution[:-1] / scale
    return slopes, float(solution[-1] - slopes @ mean)


Rated = tuple[float, bool]
"""A verifier's value of a sequence, and whether it is right."""


def _rated(
    sequences: Sequence[_Sequence], head: Head, backbone: "Backbone", notify: Notify
) -> list[list[Rated]]:
    """The values of a head for the sequences of each question."""
    notify(f"rating {len(sequences):,} distinct sequences of the held-out questions")
    states = backbone.states([each.ids for each in sequences], [head.layer], notify)
    rated: dict[str, list[Rated]] = defaultdict(list)
    for each, value in zip(
        sequences, special.expit(head.logit(states[:, 0])).tolist(), strict=True
    ):
        rated[each.question_id] += [(value, each.right)] * each.samples
    return list(rated.values())


def auroc(rated: Sequence[Rated]) -> float | None:
    """The probability that a right answer is rated above a wrong one, ties count half; None without both kinds."""
    right, wrong = (
        [value for value, label in rated if label is kind] for kind in (True, False)
    )
    if not right or not wrong:
        return None
    return float(
        stats.mannwhitneyu(right, wrong, method="asymptotic").statistic
        / (len(right) * len(wrong))
    )


def pooled_auroc(questions: Sequence[Sequence[Rated]]) -> ResampledEstimate | None:
    """AUROC over all rated answers; the interval resamples whole questions."""
    return _estimated(
        questions, lambda groups: auroc([rated for group in groups for rated in group])
    )


def within_auroc(questions: Sequence[Sequence[Rated]]) -> ResampledEstimate | None:
    """The mean AUROC within a question, over the questions that have both a right and a wrong answer."""
    own = [value for value in map(auroc, questions) if value is not None]
    return _estimated(
        own, lambda values: math.fsum(values) / len(values) if values else None
    )


def _estimated(
    units: Sequence[T], measure: Callable[[Sequence[T]], float | None]
) -> ResampledEstimate | None:
    value, source = measure(units), random.Random(0)
    if value is None:
        return None
    draws = (measure(source.choices(units, k=len(units))) for _ in range(RESAMPLES))
    low, high = np.percentile([draw for draw in draws if draw is not None], [2.5, 97.5])
    return ResampledEstimate(value, float(low), float(high))


@dataclass(slots=True)
class Backbone:
    """A causal model that is loaded for reading its hidden states."""

    tokenizer: Any
    model: Any
    layers: int

    @classmethod
    def load(cls, folder: Path) -> "Backbone":
        """The model in `folder`, in the fastest number type of this processor."""
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise UsageError(
                f"fitting needs {error.name}: run `{install_vllm()}`"
            ) from error
        model = AutoModel.from_pretrained(
            folder, dtype=default_dtype(folder).dtype
        ).eval()
        return cls(
            AutoTokenizer.from_pretrained(folder), model, model.config.num_hidden_layers
        )

    def ids(self, prompt: Prompt) -> TokenIds:
        """A prompt as the engine renders it, with the generated token ids that continue it."""
        turns = [
            {"role": message.role, "content": message.content}
            for message in prompt.messages
        ]
        if prompt.raw or not self.tokenizer.chat_template:
            text = prompt.raw or "\n\n".join(turn["content"] for turn in turns)
            return (*self.tokenizer.encode(text), *prompt.token_ids)
        text = self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=False
        )
        return (
            *self.tokenizer.encode(text, add_special_tokens=False),
            *prompt.token_ids,
        )

    def states(
        self, sequences: Sequence[TokenIds], layers: Sequence[int], notify: Notify
    ) -> NDArray[np.float32]:
        """The states [sequences, layers, width] of the last tokens, after these layers and the final norm.

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
                hidden = self.model(
                    ids, attention_mask=mask, output_hidden_states=True, use_cache=False
                ).hidden_states
                for row, i in enumerate(batch):
                    last = [
                        (layer, hidden[layer][row, len(sequences[i]) - 1])
                        for layer in layers
                    ]
                    # The last layer's state has passed the final norm already.
                    normed = [
                        state if at == self.layers else self.model.norm(state)
                        for at, state in last
                    ]
                    states[i] = np.stack([state.float().numpy() for state in normed])
            before, done = done, done + len(batch)
            if 10 * before // len(sequences) < 10 * done // len(sequences) < 10:
                notify(f"{done:,} of {len(sequences):,} sequences read")
        return np.stack(states)


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
