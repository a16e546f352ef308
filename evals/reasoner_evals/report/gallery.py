"""Failures worth reading: a few of each kind, chosen by number and fetched with their texts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

import numpy as np

from reasoner_evals.report.analysis import largest_pools
from reasoner_evals.report.diagnoses import Case, CaseKind, VoteShare
from reasoner_evals.report.differences import is_greedy
from reasoner_evals.report.measures import ArmRead, Measured
from reasoner_evals.runs.arrays import OUTCOMES, RIGHT, Bools
from reasoner_evals.runs.reading import questions_of, records_of
from reasoner_evals.runs.records import Item, ItemRecord

MOST = 12
SURE = 0.8
"""The share of the vote from which a wrong answer counts as overconfident."""
LONGEST_TEXT = 2000
LONGEST_ANSWER = 200
SHOWN_VOTES = 6

KINDS: tuple[CaseKind, ...] = get_args(CaseKind)


class _Found(NamedTuple):
    """A case before its texts are fetched."""

    kind: CaseKind
    point: Measured
    arm: ArmRead
    row: int


def cases(measured: Sequence[Measured], task: str) -> tuple[Case, ...]:
    """Up to `MOST` failures of a task, the kinds in turn, no question twice; the surest first within a kind."""
    chosen = _chosen(measured)
    records: dict[str, dict[str, ItemRecord]] = {}
    items: dict[str, Item] = {}
    # Each file is read once for all of its cases.
    for arm in {one.arm.name: one.arm for one in chosen}.values():
        ids = {_id(one, task) for one in chosen if one.arm.name == arm.name}
        records[arm.name] = records_of(arm.run, arm.data.arm.name, ids)
    if chosen and all(one.arm.run.tasks[task].source.shareable for one in chosen):
        items = questions_of(chosen[0].arm.run, task, {_id(one, task) for one in chosen})
    return tuple(
        _shown(one, _id(one, task), records[one.arm.name][_id(one, task)], items.get(_id(one, task))) for one in chosen
    )


def _id(one: _Found, task: str) -> str:
    return one.arm.run.tasks[task].ids[one.row]


def _chosen(measured: Sequence[Measured]) -> list[_Found]:
    sources = [iter(_of_kind(kind, measured)) for kind in KINDS]
    found: list[_Found] = []
    taken: set[int] = set()
    while sources and len(found) < MOST:
        for source in tuple(sources):
            one = next((one for one in source if one.row not in taken), None)
            if one is None:
                sources.remove(source)
            elif len(found) < MOST:
                found.append(one)
                taken.add(one.row)
    return sorted(found, key=lambda one: KINDS.index(one.kind))


def _of_kind(kind: CaseKind, measured: Sequence[Measured]) -> Iterator[_Found]:
    """All cases of a kind over all strategies but greedy, the surest first."""
    wholes = {one.subject.key for one, _ in largest_pools(measured)}
    ranked: list[tuple[float, int, int, _Found]] = []
    for place, one in enumerate(measured):
        if is_greedy(one) or (one.subject.pooled and one.subject.key not in wholes):
            continue
        arm = one.arms[0]
        rows = np.flatnonzero(_are(kind, one, arm, measured)).tolist()
        ranked += [(-float(arm.data.share[row]), row, place, _Found(kind, one, arm, row)) for row in rows]
    yield from (found for *_, found in sorted(ranked, key=lambda entry: entry[:3]))


def _are(kind: CaseKind, one: Measured, arm: ArmRead, measured: Sequence[Measured]) -> Bools:
    """[Q]: which questions are a case of a kind."""
    data = arm.data
    wrong: Bools = data.outcome == OUTCOMES.index("wrong")
    if kind == "backfired":
        own = (other for other in measured if is_greedy(other) and other.subject.model == one.subject.model)
        baseline = next(own, None)
        return wrong & (baseline.values.right == 1) if baseline else np.zeros_like(wrong)
    if kind == "missed":
        return wrong & (data.replies.per_question(data.replies.outcome == RIGHT) > 0)
    if kind == "overconfident":
        return wrong & (data.share >= SURE)
    named: Bools = data.outcome == OUTCOMES.index(kind)
    return named


def _shown(chosen: _Found, question_id: str, record: ItemRecord, item: Item | None) -> Case:
    """The case, with its texts where `item` is given."""
    run, data = chosen.arm.run, chosen.arm.data
    return Case(
        kind=chosen.kind,
        key=chosen.point.subject.key,
        run=str(run.folder.path),
        arm=data.arm.name,
        question_id=question_id,
        shareable=item is not None,
        text=_cut(item.text, LONGEST_TEXT) if item else "",
        gold=_cut(item.gold, LONGEST_ANSWER) if item else "",
        answer=_cut(record.answer, LONGEST_ANSWER) if item else "",
        outcome=OUTCOMES[data.outcome[chosen.row]],
        confidence=record.share,
        votes=_votes(chosen.arm, record, item) if item else (),
        tokens=record.cost.tokens,
        why=_why(chosen, record),
        ended_by=record.ended_by,
        reason=_cut(record.reason, LONGEST_ANSWER),
        calibrated=record.confidence,
    )


def _votes(arm: ArmRead, record: ItemRecord, item: Item) -> tuple[VoteShare, ...]:
    texts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reply in record.pool:
        if reply.status == "read":
            key = reply.key or reply.answer
            texts.setdefault(key, reply.answer)
            counts[key] += 1
    top = counts.most_common(SHOWN_VOTES)
    codes = arm.run.verdicts.of(item.task, item.question_id, [texts[key] for key, _ in top]) if top else []
    return tuple(
        VoteShare(_cut(texts[key], LONGEST_ANSWER), count, code == RIGHT)
        for (key, count), code in zip(top, codes, strict=True)
    )


def _why(chosen: _Found, record: ItemRecord) -> str:
    data = chosen.arm.data
    rows = data.replies.rows.of(chosen.row)
    right, drawn = int((data.replies.outcome[rows] == RIGHT).sum()), len(record.pool)
    return {
        "backfired": "one greedy sample is right, this is wrong",
        "missed": f"{right} of {drawn} replies are right, another answer was chosen",
        "no_answer": f"none of {drawn} replies holds an answer",
        "truncated": "every reply was cut by a token limit",
        "overconfident": f"wrong with {record.share:.0%} of the vote",
    }[chosen.kind]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
