"""How the models of one run divide the memory of one GPU: by the size of their weights, or as their options say."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reasoner.errors import UsageError

ALONE: Final = 0.9
"""What one model takes that shares the GPU with no other."""
TOGETHER: Final = 0.95
"""What several models take at most, where no option says otherwise."""
LEAST: Final = 0.05
"""The smallest share that is given to a model by itself."""


@dataclass(slots=True, eq=False)
class Claim:
    """A model that wants memory: its role, the share that it has or asks for, and the bytes of its weights.

    A share of 0 leaves it to `split_gpu`, weights of 0 are unknown.
    """

    role: str
    share: float = 0.0
    weights: int = 0


def split_gpu(claims: Sequence[Claim]) -> tuple[float, ...]:
    """The share of each model. What no option fixes is divided in proportion to the weights; equally if one is unknown.

    Raises:
        UsageError: the shares asked for leave too little; the message names them.
    """
    if len(claims) == 1:
        return (claims[0].share or ALONE,)
    fixed = sum(claim.share for claim in claims)
    open_claims = [claim for claim in claims if not claim.share]
    left = TOGETHER - fixed
    if fixed > 1 or (open_claims and left < LEAST * len(open_claims) - 1e-9):
        told = ", ".join(f"{claim.role} gpu_memory_utilization={claim.share:g}" for claim in claims if claim.share)
        others = ", ".join(claim.role for claim in open_claims)
        trouble = f"leaves too little for {others}" if others else "is more than one GPU"
        raise UsageError(f"{told} {trouble}: lower one of them")
    extra = max(0.0, left - LEAST * len(open_claims))
    known = all(claim.weights for claim in open_claims)
    total = sum(claim.weights for claim in open_claims)
    parts = (claim.weights / total if known else 1 / len(open_claims) for claim in open_claims)
    shares = iter([LEAST + extra * part for part in parts])
    return tuple(claim.share or next(shares) for claim in claims)


@dataclass(slots=True)
class GpuMemory:
    """The claims of the models that run on one GPU. The share of a model is fixed when it starts."""

    claims: list[Claim] = field(default_factory=list)

    def take(self, claim: Claim) -> float:
        """The share of a model that starts now, fixed until its claim is removed.

        Raises:
            UsageError: as `split_gpu`.
        """
        if claim not in self.claims:
            self.claims.append(claim)
        claim.share = split_gpu(self.claims)[self.claims.index(claim)]
        return claim.share

    def leave(self, claim: Claim) -> None:
        """Remove the claim of a model that was closed, if it is there."""
        if claim in self.claims:
            self.claims.remove(claim)


def stored_weights(folder: Path | None) -> int:
    """Bytes of the weights in a model's folder; 0 where they are not here."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder else 0
