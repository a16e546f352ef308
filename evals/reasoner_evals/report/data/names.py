"""Arms named in words, by what distinguishes them; the options that all of them share are named once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from reasoner.specs import Spec, written
from reasoner_evals.report.data.measures import ALLOCATED, Measured

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "self_consistency": ("voting", "voting over {} samples"),
    "best_of_n": ("best of n", "best of {} samples"),
}
"""The name of a strategy in words, and that of so many samples."""
_ONE: Final = "one sample"
GREEDY: Final = "one greedy sample"


class Names(NamedTuple):
    """What a page calls the points of a task."""

    series: Mapping[str, str]
    """The name of each series, such as `voting, temperature=1`."""
    points: Mapping[str, str]
    """The name of each point by its key, such as `voting over 8 samples, temperature=1`."""
    shared: tuple[str, ...]
    """What all arms have in common, such as `max_tokens=200`."""


class _Line(NamedTuple):
    """The parts of the name of a series."""

    word: str
    options: Mapping[str, str]
    verifier: str
    model: str
    rest: str
    """The size of its pool, or that it divides a budget, where this is part of its name."""


def names_of(measured: Sequence[Measured]) -> Names:
    """Names of these points that are unique and no longer than that takes."""
    series = {point.series: _line(point) for point in reversed(measured)}
    parts = {name: _distinct(line, list(series.values())) for name, line in series.items()}
    titles = {name: _joined(line, line.word, parts[name]) for name, line in series.items()}
    taken = Counter(titles.values())
    titles = {name: title if taken[title] == 1 else name for name, title in titles.items()}
    points = {
        point.key: _joined(series[point.series], _phrase(point), (*parts[point.series], *_own(point, measured)))
        for point in measured
    }
    taken = Counter(points.values())
    for point in measured:
        if taken[points[point.key]] > 1:
            # Such as the first sample of two pools.
            points[point.key] = f"{titles[point.series]}, n={point.size}" if point.pooled else point.label
    return Names(titles, points, tuple(_shared(measured)))


def _line(point: Measured) -> _Line:
    spec = Spec.parse(point.strategy).without("n")
    options = {option or "value": written(value) for option, value in spec.options.items()}
    word = GREEDY if point.is_greedy else _ONE if spec.name == "single" else _words(spec.name)[0]
    prefix = f"{point.model}: "
    model = point.model if point.series.startswith(prefix) else ""
    pool = f" of {point.arms[0].data.arm.pool}" if point.pooled else ""
    rest = ALLOCATED if point.series.endswith(ALLOCATED) else pool if pool and point.series.endswith(pool) else ""
    return _Line(word, options, point.verifier, model, rest)


def _words(strategy: str) -> tuple[str, str]:
    return _WORDS.get(strategy, (strategy.replace("_", " "), ""))


def _distinct(line: _Line, lines: Sequence[_Line]) -> tuple[str, ...]:
    """The options of a series that another one of the same word does not have."""
    others = [other for other in lines if other.word == line.word]
    own = [
        f"{option}={value}"
        for option, value in line.options.items()
        if line.word != GREEDY and any(other.options.get(option) != value for other in others)
    ]
    verifiers = {other.verifier for other in lines if other.verifier}
    return (*own, *([f"rated by {line.verifier}"] if line.verifier and len(verifiers) > 1 else []))


def _joined(line: _Line, word: str, parts: Sequence[str]) -> str:
    return f"{f'{line.model}: ' if line.model else ''}{', '.join((word, *parts))}{line.rest}"


def _phrase(point: Measured) -> str:
    """A point in words: its strategy and, where it is known, the number of its samples."""
    spec = Spec.parse(point.strategy)
    size = str(point.size or spec.options.get("n", ""))
    if point.is_greedy:
        return GREEDY
    if spec.name == "single" or (size == "1" and spec.name in _WORDS):
        return _ONE
    word, phrase = _words(spec.name)
    return phrase.format(size) if phrase and size else word


def _own(point: Measured, measured: Sequence[Measured]) -> list[str]:
    """What distinguishes a point that was run from the others of its series."""
    if point.pooled:
        return []
    sizes = {str(Spec.parse(other.strategy).options.get("n")) for other in measured if other.series == point.series}
    spec = Spec.parse(point.strategy)
    size = [f"n={spec.options['n']}"] if len(sizes) > 1 and "n" in spec.options and spec.name not in _WORDS else []
    return [*size, *([point.budget] if point.budget else [])]


def _shared(measured: Sequence[Measured]) -> list[str]:
    arms = [arm.data.arm for point in measured for arm in point.arms]
    specs = [Spec.parse(strategy).without("n").options for strategy in dict.fromkeys(arm.strategy for arm in arms)]
    options = [
        f"{option}={written(value)}"
        for option, value in (specs[0] if len(specs) > 1 else {}).items()
        if option and all(other.get(option) == value for other in specs)
    ]
    verifiers = {arm.verifier for arm in arms if arm.verifier}
    return [*options, *(f"ratings by {verifier}" for verifier in verifiers if len(verifiers) == 1)]
