"""Division of each GPU's memory among the models of a run: by their weights, or by their options."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reasoner.errors import UsageError

ALONE: Final = 0.9
"""The share of a model that has the GPU to itself."""
TOGETHER: Final = 0.95
"""The total share of several models, unless options give more."""
MIN_SHARE: Final = 0.05
"""The smallest share of a model without an option."""


@dataclass(slots=True, eq=False)
class Claim:
    """A model that needs memory: its role, its share and the bytes of its weights.

    A share of 0 is decided by `split_gpu`, weights of 0 are unknown. `devices` are the GPUs that it takes.
    """

    role: str
    share: float = 0.0
    weights: int = 0
    devices: frozenset[str] = frozenset("0")


def split_gpu(claims: Sequence[Claim]) -> tuple[float, ...]:
    """The share of each model. The part that no option fixes is divided by weights, or equally if one is unknown.

    Raises:
        UsageError: the requested shares leave too little; the message names them.
    """
    if len(claims) == 1:
        return (claims[0].share or ALONE,)
    fixed = sum(claim.share for claim in claims)
    open_claims = [claim for claim in claims if not claim.share]
    left = TOGETHER - fixed
    if fixed > 1 or (open_claims and left < MIN_SHARE * len(open_claims) - 1e-9):
        requested = ", ".join(f"{claim.role} gpu_memory_utilization={claim.share:g}" for claim in claims if claim.share)
        others = ", ".join(claim.role for claim in open_claims)
        trouble = f"leaves too little for {others}" if others else "is more than one GPU"
        raise UsageError(f"{requested} {trouble}: lower one of them")
    extra = max(0.0, left - MIN_SHARE * len(open_claims))
    weights_known = all(claim.weights for claim in open_claims)
    total = sum(claim.weights for claim in open_claims)
    parts = (claim.weights / total if weights_known else 1 / len(open_claims) for claim in open_claims)
    shares = iter([MIN_SHARE + extra * part for part in parts])
    return tuple(claim.share or next(shares) for claim in claims)


@dataclass(slots=True)
class GpuMemory:
    """The claims of the models of a run. The share of a model, on each of its GPUs, is fixed when it starts."""

    claims: list[Claim] = field(default_factory=list)

    def take(self, claim: Claim) -> float:
        """The share of a model that starts now, fixed until its claim is removed.

        Raises:
            UsageError: as `split_gpu`.
        """
        if claim not in self.claims:
            self.claims.append(claim)
        beside = [other for other in self.claims if other.devices & claim.devices]
        claim.share = split_gpu(beside)[beside.index(claim)]
        return claim.share

    def leave(self, claim: Claim) -> None:
        """Remove the claim of a closed model, if there is one."""
        if claim in self.claims:
            self.claims.remove(claim)


def devices_of(args: Mapping[str, Any]) -> frozenset[str]:
    """The GPUs that a model with these arguments of vLLM takes: those of `device_ids`, or else the first ones."""
    if given := args.get("device_ids"):
        return frozenset(map(str, given if isinstance(given, list) else [given]))
    sizes = (str(args.get(f"{kind}_parallel_size", 1)) for kind in ("tensor", "pipeline", "data"))
    return frozenset(map(str, range(math.prod(int(size) for size in sizes))))


def stored_weights(folder: Path | None) -> int:
    """Bytes of the weights in a model's folder; 0 without any."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder else 0
