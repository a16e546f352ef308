"""Two widths of one test: what its law needs on every run, and the wide search under the mark `sweep`."""

from collections.abc import Iterable
from typing import Any

import pytest


def widths(names: str | tuple[str, ...], thin: Any, wide: Any) -> pytest.MarkDecorator:
    """The test with `thin` for its argument, and with `wide` under the mark `sweep`; tuples where it has several."""
    narrow, broad = ((thin,), (wide,)) if isinstance(names, str) else (thin, wide)
    values = [
        pytest.param(*narrow, id="thin"),
        pytest.param(*broad, id="wide", marks=pytest.mark.sweep),
    ]
    return pytest.mark.parametrize(names, values)


def cases(
    argument: str, every: Iterable[object], thin: Iterable[object]
) -> pytest.MarkDecorator:
    """The test for every case; those that are not in `thin` carry the mark `sweep`."""
    always = list(thin)
    every = list(every)
    assert all(case in every for case in always)
    return pytest.mark.parametrize(
        argument,
        [
            case if case in always else pytest.param(case, marks=pytest.mark.sweep)
            for case in every
        ],
    )
