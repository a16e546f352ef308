"""Sampling parameters that are not given: the model's own values, a strategy's preferences, and what is left."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TypeVar

from reasoner.errors import UsageError
from reasoner.models.info import ModelInfo
from reasoner.types import FALLBACK, NO_THINKING, Notify, SamplingParams

T = TypeVar("T")
THINKING_MAX_TOKENS: Final = 32_768
"""The most tokens of a sequence of a model that thinks, where nothing else says it."""
NOTHING: Final = SamplingParams()
_SAMPLED: Final = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
    }
)
"""The sampling parameters that a generation config may set."""


def sampling_of(config: Mapping[str, float]) -> SamplingParams:
    """What a generation config says of sampling; a value out of range is left out, as the file is foreign."""
    sampling = NOTHING
    for name in _SAMPLED & config.keys():
        with suppress(UsageError):
            value: Any = config[name]
            sampling = dataclasses.replace(sampling, **{name: value})
    return sampling


def resolve(strategy: T, model: ModelInfo, notify: Notify) -> T:
    """The strategy with the sampling parameters in it, and in what it holds, as they apply to the model.

    Every field of a dataclass is resolved, also those that it computed itself, and strategies in it with their own
    preferences. A preference is a class variable `sampling`. `notify` receives a line for each parameter that is not as
    a user may expect.

    Raises:
        UsageError: the model does not think and a thinking level is given.
    """
    resolved: T = _resolved(strategy, model, notify, NOTHING)
    return resolved


def _resolved(
    thing: Any, model: ModelInfo, notify: Notify, preference: SamplingParams
) -> Any:
    if isinstance(thing, SamplingParams):
        return resolved_params(thing, model, notify, preference)
    if isinstance(thing, tuple | list):
        parts = [_resolved(part, model, notify, preference) for part in thing]
        if all(part is before for part, before in zip(parts, thing, strict=True)):
            return thing
        made = type(thing)
        return made(*parts) if hasattr(made, "_fields") else made(parts)
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        return thing
    own = getattr(thing, "sampling", NOTHING)
    preference = own if isinstance(own, SamplingParams) else NOTHING
    changed = {}
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name, None)
        if (after := _resolved(value, model, notify, preference)) is not value:
            changed[field.name] = after
    if changed:
        # Not `replace`: the checks of a class tell options that were given from those that were not.
        thing = copy.copy(thing)
        for name, value in changed.items():
            object.__setattr__(thing, name, value)
    return thing


def resolved_params(
    given: SamplingParams,
    model: ModelInfo,
    notify: Notify,
    preference: SamplingParams = NOTHING,
) -> SamplingParams:
    """The parameters as they apply to the model: given, else the model's, else preferred, else the fallback.

    A preference for greedy decoding comes before the model's temperature unless the model thinks. What a server does
    not say stays None, as the server has values of its own.
    """
    resolved, notes = _params_for(given, model, preference)
    for note in notes:
        notify(note)
    return given if resolved == given else resolved


@lru_cache(maxsize=256)
def _params_for(
    given: SamplingParams, model: ModelInfo, preference: SamplingParams
) -> tuple[SamplingParams, tuple[str, ...]]:
    notes: list[str] = []
    thinks = model.thinking is not None and given.thinking != NO_THINKING
    _check_thinking(given, model, notes.append)
    greedy = preference.temperature == 0
    if thinks and given.temperature == 0:
        notes.append(
            f"temperature=0 is greedy decoding: {model.name} thinks, and such models often repeat themselves then"
        )
    if thinks and greedy and given.temperature is None:
        preference = dataclasses.replace(preference, temperature=None)
        notes.append(
            f"{model.name} thinks, so it samples with its own parameters instead of greedily"
        )
    sources = (
        (preference, model.sampling)
        if greedy and not thinks
        else (model.sampling, preference)
    )
    limit = SamplingParams(
        max_tokens=THINKING_MAX_TOKENS if thinks else FALLBACK.max_tokens
    )
    return given.over(*sources, limit, *(() if model.served else (FALLBACK,))), tuple(
        notes
    )


def _check_thinking(given: SamplingParams, model: ModelInfo, notify: Notify) -> None:
    level, profile = given.thinking, model.thinking
    if (
        level in ("low", "medium")
        and profile
        and profile.levels.get(level) == profile.levels.get("high")
    ):
        notify(
            f"thinking={level} is thinking=high to {model.name}, which renders both alike: give a number of tokens"
        )
    if level in (None, NO_THINKING) or profile is not None:
        return
    if not model.served:
        raise UsageError(
            f"thinking={given.thinking} has no effect: {model.name} does not think; leave thinking out"
        )
    notify(
        f"thinking={given.thinking} may have no effect: the server does not say whether {model.name} thinks"
    )


def limits_of(thing: object) -> Iterator[int]:
    """The most tokens of a sequence, by each of the sampling parameters in a strategy and in what it holds."""
    if isinstance(thing, SamplingParams):
        yield thing.limit
    elif isinstance(thing, tuple | list):
        for part in thing:
            yield from limits_of(part)
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        for field in dataclasses.fields(thing):
            yield from limits_of(getattr(thing, field.name, None))
