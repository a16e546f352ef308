"""What is made to offer to clients before the model is known."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from reasoner.budget import Prices
from reasoner.errors import UnknownName, UsageError
from reasoner.models.info import ModelInfo
from reasoner.serving.choice import Alias, Offer, choose
from reasoner.serving.config import Limits
from reasoner.serving.errors import ApiError
from reasoner.serving.requests import read_chat
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
