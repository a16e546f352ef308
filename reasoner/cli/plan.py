"""`reasoner plan`: what a budget is expected to give, or an accuracy to cost, before anything is spent."""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reasoner.cli.exits import ANSWERED, OTHER, error_line, guarded
from reasoner.cli.look import NUMBER, WHOLE
from reasoner.cli.options import PATH, json_option
from reasoner.errors import EngineError, UnknownName, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reasoner.calibration.planning import Forecast, Outlook, Part
    from reasoner.calibration.profile import Bins, Family
    from reasoner.models.info import ModelInfo
    from reasoner.types import Notify

MAX_QUESTIONS: Final = 10**9
WIDE: Final = 90
"""Columns from which the arms are a table."""
MAX_TOKENS: Final = 10**9
"""Tokens that a prompt may have."""
KV_BYTES: Final[Mapping[str, int | None]] = {"auto": None, "float32": 4, "bfloat16": 2, "float8": 1}
"""Bytes of one number in the KV cache, by its type; "auto" is the type in which the model runs."""


@dataclass(frozen=True, slots=True)
class _Prediction:
    """A forecast, remarks on it, and why what was asked for is impossible, if it is."""

    forecast: "Forecast"
    remarks: tuple[str, ...] = ()
    failure: str | None = None


@click.command("plan")
@click.option("--profile", type=PATH, required=True, metavar="FILE",
              help="The profile to predict from, written by `reasoner calibrate`.")  # fmt: skip
@click.option("--task", metavar="NAME", help="The task of the profile; needed where it holds several.")
@click.option("--target-accuracy", type=NUMBER, metavar="P",
              help="Predict the cost of answering this share of questions correctly, 0 to 1.")  # fmt: skip
@click.option("-b", "--budget", metavar="tokens=AMOUNT",
              help="Predict the accuracy for this budget, as in tokens=200k, which all questions share.")  # fmt: skip
@click.option("--thinking", metavar="LEVEL,...",
              help="Only what was measured at these thinking levels, as in 512,2k.  [default: all]")  # fmt: skip
@click.option("--questions", default="1", show_default=True, metavar="M", help="The number of questions, as in 1e6.")
@click.option("-m", "--model", metavar="PATH_OR_ID",
              help="The model for the KV memory.  [default: the model that was measured]")  # fmt: skip
@click.option("--kv-gib", type=NUMBER, metavar="G",
              help="The size of the KV cache in GiB, as in 4.  [default: on a CPU, the engine's default]")  # fmt: skip
@click.option("--kv-dtype", default="auto", show_default=True, metavar="|".join(KV_BYTES),
              help="The data type of the KV cache; auto is that of the model.")  # fmt: skip
@click.option("--context-tokens", type=WHOLE, default=0, show_default=True, metavar="T",
              help="Additional prompt tokens per question, shared by its samples.")  # fmt: skip
@json_option("the prediction")
@guarded
def command(
    profile: Path,
    task: str | None,
    target_accuracy: float | None,
    budget: str | None,
    thinking: str | None,
    questions: str,
    model: str | None,
    kv_gib: float | None,
    kv_dtype: str,
    context_tokens: int,
    as_json: bool,
) -> int:
    """Predict the accuracy for a budget, or the cost of an accuracy.

    Reads a profile and spends nothing. The budget is divided between easy and hard questions so that the most are
    answered correctly. Nothing beyond the measured range is predicted. Where the size of the KV cache is known, shows
    how many sequences fit at once.

    Exit codes: 0 predicted, 1 the accuracy is above all that was measured, 2 usage.
    """
    from reasoner.calibration.planning import outlook, sequence_p95
    from reasoner.calibration.profile import read_profile
    from reasoner.cli.terminal import Terminal, columns
    from reasoner.types import thinking_level

    count, tokens = _questions(questions), _token_budget(budget, target_accuracy)
    memory = _KvMemory(model, kv_gib, kv_dtype, context_tokens)
    terminal = Terminal(sys.stdout, sys.stderr)
    try:
        read = read_profile(profile)
        family = read.family(task or "")
        levels = [] if thinking is None else [thinking_level(level) for level in thinking.split(",")]
        ways = outlook(family, levels)
        if target_accuracy is not None:
            prediction = _cost_of(target_accuracy, ways)
        else:
            assert tokens is not None
            prediction = _accuracy_for(tokens, count, ways)
        predicted = _document(prediction, family, count)
        if not math.isfinite(predicted["total_tokens_p95"]):
            raise OverflowError
    except ArithmeticError as error:
        raise UsageError(f"{profile} holds numbers too large to compute with: calibrate again") from error
    asked = {"questions": count, "budget_tokens": tokens, "target_accuracy": target_accuracy}
    kv = memory.holding(read.model, sequence_p95(family), prediction.forecast.samples, terminal.say)
    document = {"model": read.model, **asked, **predicted, "kv": kv}
    if as_json:
        terminal.give(json.dumps(document))
    else:
        terminal.show(*_layout(document), width=columns())
    if prediction.failure:
        terminal.say(error_line(prediction.failure))
    return OTHER if prediction.failure else ANSWERED


def _questions(text: str) -> int:
    """The number of --questions."""
    from reasoner.budget import Budget

    with suppress(UsageError):
        if (count := Budget.parse(f"samples={text}").samples) and count <= MAX_QUESTIONS:
            return count
    raise UsageError(f"--questions must be from 1 to {MAX_QUESTIONS:,} (got {text:.40}), as in 1000, 200k or 1e6")


def _token_budget(budget: str | None, accuracy: float | None) -> int | None:
    """The tokens of --budget; None where --target-accuracy is given."""
    from reasoner.budget import Budget

    if (budget is None) == (accuracy is None):
        given = "neither is given" if budget is None else "both are given"
        raise UsageError(f"give either --budget or --target-accuracy to predict the other: {given}")
    if accuracy is not None and not 0 <= accuracy <= 1:
        raise UsageError(f"--target-accuracy must be a share of questions, 0 to 1 (got {accuracy:g})")
    if budget is None:
        return None
    limit = Budget.parse(budget)
    if limit.tokens is None or limit != Budget(tokens=limit.tokens):
        raise UsageError(f"budget {limit} cannot be predicted: write --budget tokens=AMOUNT")
    return limit.tokens


def _accuracy_for(budget: int, questions: int, outlook: "Outlook") -> _Prediction:
    tokens = budget / questions
    # Rounding, as in `frontier.fill`.
    if tokens < outlook.minimum * (1 - 1e-12):
        minimum = f"{_number(outlook.minimum)} tokens per question"
        total = math.ceil(outlook.minimum * questions)
        raise UsageError(f"the budget is too small: the cheapest measured way takes {minimum}, so give tokens={total}")
    forecast = outlook.at(tokens)
    unused = tokens - forecast.tokens.mean
    if unused <= 1e-9 * tokens:
        return _Prediction(forecast)
    remark = f"{_number(unused)} tokens per question are not used: more of them did not raise the measured accuracy"
    return _Prediction(forecast, (remark,))


def _cost_of(accuracy: float, outlook: "Outlook") -> _Prediction:
    tokens = outlook.tokens_for(accuracy)
    if tokens is None:
        maximum = outlook.maximum
        low, high = maximum.interval
        highest = f"{maximum.accuracy.mean:.3f} ({low:.3f} to {high:.3f}), for {_number(maximum.tokens.mean)} tokens"
        why = f"no measured way is right on {accuracy:g} of questions: the highest is {highest} per question"
        return _Prediction(maximum, failure=f"{why}; ask for less, or calibrate with more samples or other strategies")
    forecast = outlook.at(tokens)
    low = forecast.interval[0]
    if low >= accuracy:
        return _Prediction(forecast)
    return _Prediction(
        forecast, (f"it may be missed: the interval begins at {low:.3f}, below the target {accuracy:g}",)
    )


def _document(prediction: _Prediction, family: "Family", questions: int) -> dict[str, Any]:
    forecast = prediction.forecast
    low, high = forecast.interval
    tokens = forecast.tokens.mean
    return {
        "task": family.task,
        "calibrated_on": family.questions,
        "reached": prediction.failure is None,
        "accuracy": forecast.accuracy.mean,
        "low": low,
        "high": high,
        "tokens": tokens,
        "tokens_p95": forecast.tokens_p95,
        "total_tokens": questions * tokens,
        "total_tokens_p95": forecast.tokens_p95 if questions == 1 else forecast.total_p95(questions),
        "bins": [_bin(part, index, family.bins) for index, part in enumerate(forecast.parts)],
        "remarks": list(prediction.remarks),
    }


def _bin(part: "Part", index: int, bins: "Bins") -> dict[str, Any]:
    arms = [
        {
            "strategy": way.row.strategy,
            "verifier": way.row.verifier,
            "budget": way.row.budget,
            "share": share,
            "accuracy": way.accuracy.mean,
            "tokens": way.row.tokens,
            "tokens_p95": way.row.tokens_p95,
            "samples": way.row.samples,
        }
        for share, way in part.arms
    ]
    return {"bin": index, "where": bins.words(index) or "all", "share": part.share, "arms": arms}


def _layout(document: Mapping[str, Any]) -> "Iterator[RenderableType]":
    """The document for a person: the forecast, what fits, and what is run in each bin."""
    from rich.table import Table
    from rich.text import Text

    from reasoner.cli.terminal import columns, labelled, one_line, printable

    questions, p95 = document["questions"], _number(document["tokens_p95"])
    low, high = document["low"], document["high"]
    measured = f"{printable(document['model'])} on {printable(document['task'])}"
    lines = [
        ("profile", f"{measured}, {document['calibrated_on']:,} questions"),
        ("accuracy", f"{document['accuracy']:.3f}, with 95 % confidence {low:.3f} to {high:.3f}"),
        ("tokens", f"{_number(document['tokens'])} per question; at most {p95} for 95 % of questions"),
    ]
    if questions > 1:
        total, maximum = _number(document["total_tokens"]), _number(document["total_tokens_p95"])
        lines.append(("total", f"{total} for {questions:,} questions; at most {maximum} with 95 % probability"))
    lines += [("note", remark) for remark in document["remarks"]]
    lines += [("memory", line) for line in _memory_lines(document["kv"])]
    yield labelled(lines)
    yield ""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("questions")
    for heading in ("share", "accuracy", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("arm", overflow="fold")
    narrow: list[tuple[str, str]] = []
    for part in document["bins"]:
        for index, arm in enumerate(part["arms"]):
            extra = [f"{kind} {arm[kind]}" for kind in ("verifier", "budget") if arm[kind]]
            share, accuracy, tokens = (
                f"{part['share'] * arm['share']:.1%}",
                f"{arm['accuracy']:.3f}",
                _number(arm["tokens"]),
            )
            name = one_line(", ".join([arm["strategy"], *extra]))
            table.add_row("" if index else part["where"], share, accuracy, tokens, Text(name))
            narrow.append((part["where"], f"{share}, accuracy {accuracy}, tokens {tokens}: {name}"))
    yield labelled(narrow) if columns() < WIDE else table


def _number(amount: float) -> str:
    """Tokens, whole where there are many."""
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


@dataclass(frozen=True, slots=True)
class _KvMemory:
    """The options about the KV cache; None where one was not given."""

    model: str | None
    gib: float | None
    dtype: str
    context_tokens: int

    def __post_init__(self) -> None:
        if self.dtype not in KV_BYTES:
            raise UnknownName("KV dtype", self.dtype, KV_BYTES)
        if self.gib is not None and not 0 < self.gib <= 2**30:
            raise UsageError(f"--kv-gib must be above 0, in GiB (got {self.gib:g})")
        if not 0 <= self.context_tokens <= MAX_TOKENS:
            raise UsageError(f"--context-tokens must be from 0 to {MAX_TOKENS:,} (got {self.context_tokens})")

    def holding(self, measured: str, sequence: float, samples: int, say: "Notify") -> dict[str, Any] | None:
        """How many sequences of this length fit, with so many samples per question, for JSON.

        `measured` is the profile's model and the default. None where the size of the cache is unknown, as on a GPU, and
        neither a size nor a model was given.

        Raises:
            UsageError: the model that was given does not exist.
        """
        from reasoner.engines.vllm.kv_caches import with_caches

        gib = self.gib or _default_gib()
        if gib is None and self.model is None:
            return None
        try:
            info, folder = self._info(measured, say)
            if gib is None:
                return {"model": info.name, "trouble": "unknown on a GPU: give --kv-gib"}
            dtype = "float32" if info.kv_bytes_per_element == 4 else "bfloat16"
            kv_dtype = "fp8" if self.dtype == "float8" else "auto"
            info = with_caches(info, folder, say, dtype=dtype, kv_dtype=kv_dtype)
        except (EngineError, UsageError) as error:
            if isinstance(error, UsageError) and self.model is not None:
                raise
            return {"model": self.model or measured, "trouble": f"unknown: {error}"}
        if not info.kv_bytes_per_token:
            return {"model": info.name, "trouble": f"unknown: {info.name} does not state its layers and KV heads"}
        return self._fit(info, gib, max(1, math.ceil(sequence)), samples)

    def _info(self, measured: str, say: "Notify") -> "tuple[ModelInfo, Path]":
        from reasoner.models.embedded import EMBEDDED, EMBEDDED_NAME
        from reasoner.models.geometry import read_model_info
        from reasoner.models.resolve import resolve

        resolved = resolve(self.model or (EMBEDDED if measured == EMBEDDED_NAME else measured), say)
        # A folder has many paths, and a hub id may name the same model: compare the last part.
        if Path(resolved.name).resolve().name != measured.rstrip("/").rpartition("/")[2]:
            say(f"warning: the profile was measured with {measured}, not {resolved.name}: calibrate that one")
        if resolved.folder is None:
            raise EngineError(
                f"{resolved.name} is not on this machine: name its folder with --model, or let vLLM download it"
            )
        size = KV_BYTES[self.dtype] or _model_bytes(resolved.folder)
        return read_model_info(resolved.folder, name=resolved.name, kv_bytes_per_element=size), resolved.folder

    def _fit(self, info: "ModelInfo", gib: float, own: int, samples: int) -> dict[str, Any]:
        from reasoner.calibration.planning import fit

        fits = fit(info, kv_bytes=int(gib * 2**30), own=own, prompt=self.context_tokens, samples=samples)
        return {
            "model": info.name,
            "trouble": None,
            "attention": info.attention,
            "layers": info.layers,
            "query_heads": info.heads,
            "kv_heads": info.kv_heads,
            "head_dim": info.head_dim,
            "window": info.context or None,
            "bytes_per_element": info.kv_bytes_per_element,
            "bytes_per_token": info.kv_bytes_per_token,
            "gib": gib,
            "cache_tokens": fits.tokens,
            "sequence_tokens": own,
            "context_tokens": self.context_tokens,
            "samples": samples,
            "fit": fits.apart,
            "fit_sharing_prompt": fits.shared,
        }


def _memory_lines(kv: Mapping[str, Any] | None) -> Iterator[str]:
    """What `_KvMemory.holding` found, for a person."""
    if kv is None:
        return
    if kv["trouble"]:
        yield kv["trouble"]
        return
    geometry = f"{kv['attention']}, {kv['query_heads']} query heads, {kv['kv_heads']} KV heads, {kv['layers']} layers"
    size = f"{kv['bytes_per_token']:,} bytes per token ({geometry})"
    yield f"{kv['gib']:g} GiB hold {kv['cache_tokens']:,} tokens of {kv['model']}: {size}"
    length, prompt = kv["sequence_tokens"] + kv["context_tokens"], kv["context_tokens"]
    shared = f", {kv['fit_sharing_prompt']:,} if the {kv['samples']} of a question share a prompt of {prompt:,}"
    yield f"{kv['fit']:,} sequences of {length:,} tokens fit at once{shared if prompt else ''}"
    if kv["window"] and length > kv["window"]:
        yield f"a sequence of this length exceeds the model's context window of {kv['window']:,} tokens"


def _model_bytes(folder: Path) -> int:
    """Bytes of one number of the model as the default engine runs it."""
    from reasoner.engines.vllm.build import installed_build
    from reasoner.models.dtype import BYTES, default_dtype

    build = installed_build()
    return BYTES[default_dtype(folder).dtype] if build and build.cpu else 2


def _default_gib() -> float | None:
    """GiB that the default engine uses for its cache on a CPU; None where vLLM is not built for one."""
    from reasoner.engines.vllm import VllmEngine
    from reasoner.engines.vllm.build import installed_build

    build = installed_build()
    return VllmEngine().kv_gib if build and build.cpu else None
