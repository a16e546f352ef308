"""Failures worth reading: a few of each kind, chosen by their numbers and fetched with their texts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, get_args

import numpy as np

from reasoner_evals.report.content import Failure, FailureKind
from reasoner_evals.report.data.measures import ArmRead, Measured
from reasoner_evals.runs.arrays import OUTCOMES, RIGHT, Bools
from reasoner_evals.runs.reading import questions_of, records_of
from reasoner_evals.runs.records import Item, ItemRecord

MAX_FAILURES: Final = 12
SURE: Final = 0.8
"""A wrong answer with at least this share of the vote counts as overconfident."""
MAX_VOTES: Final = 6

KINDS: Final[tuple[FailureKind, ...]] = get_args(FailureKind)


class _Candidate(NamedTuple):
    """A failure before its texts are fetched."""

    kind: FailureKind
    point: Measured
    arm: ArmRead
    row: int

    @property
    def question_id(self) -> str:
        return self.arm.run.tasks[self.arm.data.arm.task].ids[self.row]


def failures(measured: Sequence[Measured], task: str) -> tuple[Failure, ...]:
    """Up to `MAX_FAILURES` of a task, the kinds in turn, no question twice; within a kind the most confident first."""
    chosen = _chosen(measured)
    records: dict[str, dict[str, ItemRecord]] = {}
    items: dict[str, Item] = {}
    # Each file is read once for all of its failures.
    for arm in {candidate.arm.name: candidate.arm for candidate in chosen}.values():
        ids = {candidate.question_id for candidate in chosen if candidate.arm.name == arm.name}
        records[arm.name] = records_of(arm.run, arm.data.arm.name, ids)
    if chosen and all(candidate.arm.run.tasks[task].source.shareable for candidate in chosen):
        items = questions_of(chosen[0].arm.run, task, {candidate.question_id for candidate in chosen})
    return tuple(
        _failure(candidate, records[candidate.arm.name][candidate.question_id], items.get(candidate.question_id))
        for candidate in chosen
    )


def _chosen(measured: Sequence[Measured]) -> list[_Candidate]:
    sources = {kind: iter(_of_kind(kind, measured)) for kind in KINDS}
    chosen: dict[int, _Candidate] = {}
    while sources and len(chosen) < MAX_FAILURES:
        for kind, source in tuple(sources.items()):
            candidate = next((candidate for candidate in source if candidate.row not in chosen), None)
            if candidate is None:
                del sources[kind]
            elif len(chosen) < MAX_FAILURES:
                chosen[candidate.row] = candidate
    return sorted(chosen.values(), key=lambda candidate: KINDS.index(candidate.kind))


def _of_kind(kind: FailureKind, measured: Sequence[Measured]) -> list[_Candidate]:
    """All failures of a kind of all strategies but greedy, the most confident first."""
    candidates = [
        _Candidate(kind, point, point.arms[0], row)
        for point in measured
        if point.is_whole and not point.is_greedy
        for row in np.flatnonzero(_failed(kind, point, measured)).tolist()
    ]
    return sorted(candidates, key=lambda candidate: (-candidate.arm.data.share[candidate.row], candidate.row))


def _failed(kind: FailureKind, point: Measured, measured: Sequence[Measured]) -> Bools:
    """[Q]: which questions are a failure of a kind."""
    data = point.arms[0].data
    wrong: Bools = data.outcome == OUTCOMES.index("wrong")
    if kind == "backfired":
        greedy = next((other for other in measured if other.is_greedy and other.model == point.model), None)
        return wrong & (greedy.values["right"] == 1) if greedy else np.zeros_like(wrong)
    if kind == "missed":
        return wrong & (data.replies.per_question(data.replies.outcome == RIGHT) > 0)
    if kind == "overconfident":
        return wrong & (data.share >= SURE)
    failed: Bools = data.outcome == OUTCOMES.index(kind)
    return failed


def _failure(candidate: _Candidate, record: ItemRecord, item: Item | None) -> Failure:
    """The failure, with its texts if `item` is given."""
    run, data = candidate.arm.run, candidate.arm.data
    left_out: dict[str, Any] = {"pool": (), "along": ()} | ({} if item else {"answer": "", "key": ""})
    return Failure(
        kind=candidate.kind,
        key=candidate.point.key,
        trace=run.folder.arm(data.arm.name).trace,
        record=record.model_copy(update=left_out),
        item=item,
        outcome=OUTCOMES[data.outcome[candidate.row]],
        votes=_votes(candidate.arm, record, item) if item else (),
        why=_why(candidate, record),
    )


def _votes(arm: ArmRead, record: ItemRecord, item: Item) -> tuple[tuple[str, int, bool], ...]:
    read = [(reply.key or reply.answer, reply.answer) for reply in record.pool if reply.status == "read"]
    # The first text of a key is shown.
    texts, top = dict(reversed(read)), Counter(key for key, _ in read).most_common(MAX_VOTES)
    codes = arm.run.verdicts.of(item.task, item.question_id, [texts[key] for key, _ in top]) if top else []
    return tuple((texts[key], count, code == RIGHT) for (key, count), code in zip(top, codes, strict=True))


def _why(candidate: _Candidate, record: ItemRecord) -> str:
    replies = candidate.arm.data.replies
    right = int((replies.outcome[replies.rows.of(candidate.row)] == RIGHT).sum())
    verb = "is" if right == 1 else "are"
    return {
        "backfired": "one greedy sample is right, this answer is wrong",
        "missed": f"{right} of {len(record.pool)} replies {verb} right, another answer was chosen",
        "no_answer": f"none of {len(record.pool)} replies has an answer",
        "truncated": "every reply was truncated by a token limit",
        "overconfident": f"wrong with {record.share:.0%} of the vote",
    }[candidate.kind]
