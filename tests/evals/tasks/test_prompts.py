"""Prompt templates: their instructions, names and hashes."""

from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner_evals.tasks.benchmark import Template
from tests.evals.tasks.samples import spec


def test_all_that_a_template_says_is_in_its_hash() -> None:
    spaces = [item.question.space for item in build("task", "arithmetic").load().items]
    made = [Template("t", 1), Template("t", 1, "Think. {kind}")]
    assert len({template.hash(spaces) for template in made}) == len(made)
    assert Template("t", 1).hash(spaces) == Template("u", 2).hash(spaces[:1])
    assert str(Template("t", 3)) == "t@3"


def test_a_subject_of_mmlu_is_kept_alone_under_the_same_ids(tmp_path: Path) -> None:
    line = spec("mmlu", tmp_path)
    [kept] = build("task", f"{line},subject=own_life").load().items
    assert kept == build("task", line).load().items[1]
    with pytest.raises(UsageError, match="has no questions"):
        build("task", f"{line},subject=none_such").load()
