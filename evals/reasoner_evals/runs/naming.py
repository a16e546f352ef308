"""Names of arms for people: `vote of 8`, `best of 8, certainty`; settings that all arms share are left out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

from reasoner.errors import ReasonerError
from reasoner.registry import load, options_of
from reasoner.specs import BareWord, Spec, factors, written
from reasoner.types import NO_THINKING, SamplingParams
from reasoner_evals.runs.records import Arm

_SHORT: Final = {"self_consistency": "vote", "best_of_n": "best"}
_SETTINGS: Final = {field.name for field in fields(SamplingParams)} - {"stop"}
"""Options that say how any strategy samples. In a vote, `stop` is a stop rule."""


def is_greedy(strategy: str, *, thinks: bool = False) -> bool:
    """Whether a spec means one sample of temperature 0; the default of a model that thinks is not."""
    spec = Spec.parse(strategy)
    thinks = thinks and spec.options.get("thinking") != NO_THINKING
    unset = 1.0 if thinks else 0.0
    return (
        spec.name == "single"
        and float(str(spec.options.get("temperature", unset))) == 0
    )


@dataclass(frozen=True, slots=True)
class ArmName:
    """The words for a strategy with its verifier, in any size."""

    spec: Spec
    """Without the settings that all arms share."""
    verifier: str
    words: str = ""
    """A name in place of the strategy's; empty for its short or own name."""

    @property
    def series(self) -> str:
        """The name without numbers of samples."""
        return self._of(self.spec.without("n"))

    def at(self, size: int | None) -> str:
        """The name with `size` samples, or else with as many as the strategy draws."""
        if size is None and self.spec.name in _SHORT:
            size = _default_size(self.spec)
        return self._of(
            self.spec
            if size is None
            else Spec(self.spec.name, {**self.spec.options, "n": BareWord(size)})
        )

    def _of(self, spec: Spec) -> str:
        options = dict(spec.options)
        size = options.pop("n", None)
        name = self.words or _SHORT.get(spec.name, spec.name.replace("_", " "))
        parts = [name if size is None else f"{name} of {written(size)}"]
        parts += [f"{option}={written(value)}" for option, value in options.items()]
        return ", ".join([*parts, self.verifier] if self.verifier else parts)


def arm_names(arms: Iterable[tuple[str, str, bool]]) -> dict[tuple[str, str], ArmName]:
    """By strategy and verifier, the name; the third value says whether the model thinks.

    No two strategies share a name: those that would keep their options and their own names.
    """
    known = {(strategy, verifier): thinks for strategy, verifier, thinks in arms}
    raters = _short_verifiers({verifier for _, verifier in known if verifier})
    specs = {strategy: Spec.parse(strategy) for strategy, _ in known}
    shared = shared_settings(specs.values())
    names = {
        key: _named(
            specs[key[0]].without(*shared), key[0], raters[key[1]], thinks=thinks
        )
        for key, thinks in known.items()
    }
    lines = {
        (name.series, str(specs[key[0]].without("n"))) for key, name in names.items()
    }
    taken = Counter(series for series, _ in lines)
    return {
        key: name
        if taken[name.series] == 1
        else ArmName(specs[key[0]].without(*shared), raters[key[1]], specs[key[0]].name)
        for key, name in names.items()
    }


def short_names(arms: Sequence[Arm], *, thinks: bool) -> dict[str, str]:
    """Names of the arms of a run for people, by their own; what all of them share is left out."""
    named = arm_names((arm.strategy, arm.verifier, thinks) for arm in arms)
    tasks, seeds = ({getattr(arm, field) for arm in arms} for field in ("task", "seed"))
    names = {}
    for arm in arms:
        parts = [
            *([arm.task] if tasks - {arm.task} else []),
            named[arm.strategy, arm.verifier].at(None),
        ]
        parts += [arm.limit] if arm.limit else []
        parts += [f"seed {arm.seed}"] if seeds - {arm.seed} else []
        names[arm.name] = ", ".join(parts)
    taken = Counter(names.values())
    return {name: short if taken[short] == 1 else name for name, short in names.items()}


def _short_verifiers(verifiers: Iterable[str]) -> dict[str, str]:
    """A verifier's name without options, where no other one has it; nothing for no verifier."""
    names = {
        verifier: "*".join(Spec.parse(each).name for each in factors(verifier))
        for verifier in verifiers
    }
    taken = Counter(names.values())
    return {"": ""} | {
        verifier: name if taken[name] == 1 else verifier
        for verifier, name in names.items()
    }


def _named(spec: Spec, strategy: str, verifier: str, *, thinks: bool) -> ArmName:
    if spec.name != "single":
        return ArmName(spec, verifier)
    if is_greedy(strategy, thinks=thinks):
        return ArmName(spec.without("temperature"), verifier, "greedy")
    return ArmName(spec, verifier, "one sample")


def shared_settings(specs: Iterable[Spec]) -> dict[str, str]:
    """The sampling options that every strategy sets, and all to one value, with that value.

    The temperature of a greedy sample, which its name says, does not count.
    """
    # A strategy counts as greedy if it is with any model.
    listed = [
        (set(_settings(spec)), is_greedy(str(spec), thinks=True)) for spec in specs
    ]
    values: dict[str, set[str]] = {}
    for settings, greedy in listed:
        for name, value in settings:
            if not (greedy and name == "temperature"):
                values.setdefault(name, set()).add(value)
    return {
        name: value
        for name, (value, *others) in values.items()
        if not others
        and all(
            (name, value) in settings or (greedy and name == "temperature")
            for settings, greedy in listed
        )
    }


def _settings(spec: Spec) -> Iterator[tuple[str, str]]:
    """The sampling options of a spec and of those inside it."""
    for name, value in spec.options.items():
        if name in _SETTINGS and not isinstance(value, Spec):
            yield name, written(value)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Spec):
                yield from _settings(inner)


def _default_size(spec: Spec) -> int | None:
    """How many samples a strategy draws that sets no number; None where it has none, or is not installed."""
    if "n" in spec.options:
        return None
    try:
        default = options_of(load("strategy", spec.name))["n"].default
    except (ReasonerError, KeyError):
        return None
    return default if isinstance(default, int) else None
