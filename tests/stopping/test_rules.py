"""What every stop rule of the catalog keeps to, whatever the vote state."""

import pytest

from reasoner.registry import build, entries, spec_of
from reasoner.testing import check_rule
from tests.sweeps import widths

NEEDED = {"first_of": "first_of:[lossless,price]"}
"""Rules that have an option without a default."""
CHANGED = [
    "beta:theta=0.6",
    "dirichlet:theta=0.6",
    "lock_in:delta=0.5",
    "ppr:delta=0.4,classes=3",
    "esc:window=1",
    "price:price=0.0",
    "price:price=0.05",
    "first_of:rules=[price(price=0.01),ppr(delta=0.4,classes=5),first_of(rules=[lossless,esc])]",
]
SPECS = [*(NEEDED.get(name, name) for name in sorted(entries("rule"))), *CHANGED]

specs = pytest.mark.parametrize("spec", SPECS)


@specs
@widths("wide", thin=False, wide=True)
def test_it_keeps_the_laws(spec: str, wide: bool) -> None:
    rule = build("rule", spec)
    check_rule(rule, wide=wide)
    assert build("rule", spec_of(rule)) == rule
