"""What is made to offer to clients before the model is known."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from reasoner.budget import Prices
from reasoner.errors import UnknownName, UsageError
from reasoner.models.info import ModelInfo
from reasoner.registry import DEFAULT_VERIFIER, build, load
from reasoner.serving.choice import Alias, Offer, choose
from reasoner.serving.config import Limits, Settings
from reasoner.serving.errors import ApiError
from reasoner.serving.requests import read_chat
from reasoner.specs import Spec
from reasoner.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Offered:
    """What a server is made to offer, before its model is known: see `Offer`."""

    default: Alias
    aliases: Mapping[str, Alias]
    verifiers: Mapping[str, Verifier]
    prices: Prices | None = None

    def offer(self, model: ModelInfo, limits: Limits, *, engine: str = "") -> Offer:
        """What is offered with this model, within these limits."""
        return Offer(
            model=model.name,
            default=self.default,
            aliases=self.aliases,
            verifiers=self.verifiers,
            ceiling=limits.max_budget,
            prices=self.prices,
            thinks=model.thinking is not None,
            sampling=model.sampling,
            engine=engine,
        )

    def check(self, limits: Limits) -> None:
        """Choose by the default and each alias once, so that what does not fit is known before the engine starts.

        Raises:
            UsageError: an alias or the default names what there is not, or its parts do not fit each other.
        """
        for name, alias in {"": self.default, **self.aliases}.items():
            where = f"the alias {name}" if name else "the default"
            if alias.verifier and alias.verifier not in self.verifiers:
                raise UsageError(f"{where}: {UnknownName('verifier', alias.verifier, self.verifiers)}")
            asked = {"model": f"model@{name}" if name else "model", "messages": [{"role": "user", "content": "1 + 1?"}]}
            try:
                choose(read_chat(json.dumps(asked).encode()), self.offer(ModelInfo("model"), limits))
            except ApiError as error:
                raise UsageError(f"{where}: {error.message}") from error


def choose_default(settings: Settings, **given: str | None) -> tuple[Alias, Mapping[str, Verifier]]:
    """How requests are answered that choose nothing, and the verifiers by name; `given` goes before the settings.

    Raises:
        UsageError: a strategy or a verifier is unknown, or the strategy would not use the verifier.
    """
    # Every server offers it: it needs no model, and no tokenizer.
    specs = {DEFAULT_VERIFIER: DEFAULT_VERIFIER, **settings.verifiers}
    default = settings.default or Offer("").default
    if given["strategy"] is not None:
        # What the settings say of another strategy does not fit this one.
        default = Alias(given["strategy"])
    if (spec := given["verifier"]) is not None:
        name = spec if spec in settings.verifiers else Spec.parse(spec).name
        specs[name] = settings.verifiers.get(spec, spec)
        given = {**given, "verifier": name}
        if not build("strategy", default.strategy).uses_verifier:
            raise UsageError(f"--verifier {spec} has no effect: {default.strategy} would not use its scores; omit it")
    verifiers: dict[str, Verifier] = {}
    for name, spec in specs.items():
        load("verifier", Spec.parse(spec).name)
        verifiers[name] = build("verifier", spec)
    return replace(default, **{name: value for name, value in given.items() if value is not None}), verifiers
