"""One budget for all questions of an evaluation, divided by the controller."""

from pathlib import Path

import pytest

from reasoner_evals.runs.records import RunFolder, read_journal
from tests.evals.runs.sittings import STRATEGIES, killed_in_a_child, sit, some_moments

ALL = [name for name in STRATEGIES if name != "one"]  # one sample spends no budget
TOTAL = 900


def spent(folder: Path, name: str) -> int:
    """What all attempts at all questions cost: the last record of a question holds that of its earlier ones."""
    last = {
        record.question_id: record.cost.tokens
        for record in read_journal(RunFolder(folder).arm(name))
    }
    return sum(last.values())


def test_all_questions_together_keep_to_it(tmp_path: Path) -> None:
    sit(tmp_path, ALL, total=f"tokens={TOTAL}")
    for name in ALL:
        records = list(read_journal(RunFolder(tmp_path).arm(name)))
        assert len(records) == 6
        assert 300 < spent(tmp_path, name) <= TOTAL
        assert all(record.cost.samples for record in records)


@pytest.mark.process
def test_it_is_kept_to_however_often_the_run_is_killed(tmp_path: Path) -> None:
    for lines, part in some_moments(120, 8, seed=1):
        killed_in_a_child(
            lambda: sit(tmp_path, ALL, total=f"tokens={TOTAL}"), lines=lines, part=part
        )
    sit(tmp_path, ALL, total=f"tokens={TOTAL}")
    for name in ALL:
        records = list(read_journal(RunFolder(tmp_path).arm(name)))
        assert sorted(record.question_id for record in records) == [
            f"q{n}" for n in range(6)
        ]
        assert spent(tmp_path, name) <= TOTAL
