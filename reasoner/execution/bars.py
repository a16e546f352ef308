"""Bars of progress in a notebook or a terminal, for `progress=True`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reasoner.solution import Solution
from reasoner.types import Proposal

Follow = Callable[[Proposal], object]


@contextmanager
def followed(progress: Follow | bool | None) -> Iterator[Follow | None]:
    """What receives the proposals of a question: the function given, for True a bar over its samples, else nothing."""
    if progress is not True:
        yield progress or None
        return
    with _new_bar("sample", None) as bar:

        def draw(proposal: Proposal) -> None:
            state = proposal.vote_state
            # A bar without a total counts.
            bar.total = state.max_samples or None
            bar.set_postfix_str(
                f"{proposal.short}, {proposal.cost.tokens:,} tokens", refresh=False
            )
            bar.update(state.samples - bar.n)

        yield draw


@contextmanager
def counted_solutions(
    *, drawn: bool, length: int | None
) -> Iterator[Callable[[Solution], object]]:
    """What receives the solutions of many questions: a bar over these, where it is `drawn`."""
    if not drawn:
        yield lambda _: None
        return
    tokens = 0
    with _new_bar("question", length) as bar:

        def draw(solution: Solution) -> None:
            nonlocal tokens
            tokens += solution.cost.tokens
            bar.set_postfix_str(f"{tokens:,} tokens", refresh=False)
            bar.update()

        yield draw


def _new_bar(unit: str, total: int | None) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, unit=f" {unit}s")
