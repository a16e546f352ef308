"""What every registered verifier promises: one suite, run over the catalog."""

import dataclasses
import typing

import pytest

from reasoner.errors import UnknownName
from reasoner.registry import build, entries, load, spec_of
from reasoner.specs import Spec
from reasoner.testing.verifiers import VERIFIER_LAWS, VerifierLaw
from reasoner.types import Part
from reasoner.verifier import Verifier
from reasoner_verifiers.certainty import Measure
from reasoner_verifiers.judge import Ask

NEEDS_A_MODEL = {"orm", "prm"}
"""Held to the same in `tests/engine`, on real reward models."""
SPECS = {
    "certainty": "certainty",
    "code": 'code:tests={"stdin": "", "expected": "1"},allow_unsandboxed=true',
    "equations": "equations",
    "judge": "judge:min_mass=0",
    "likelihood": "likelihood",
    "product": "product:members=[certainty,certainty(top_k=20,measure=self_certainty)]",
    "rules": 'rules:pattern="answer is [0-9]"',
}
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "certainty": {
        "measure": typing.get_args(Measure),
        "top_k": ("2", "20"),
        "window": ("1", "9"),
        "part": typing.get_args(Part),
    },
    "code": {
        "tests": ("assert True", "shown", "[shown,written]"),
        "drafts": ("3",),
        "entry_point": ("f",),
        "tests_file": ("tests.jsonl",),
        "timeout": ("1.5",),
        "allow_unsandboxed": ("true", "false"),
    },
    "product": {"members": ("certainty", "[certainty,judge]")},
    "equations": {"part": typing.get_args(Part)},
    "judge": {
        "ask": typing.get_args(Ask),
        "criteria": ("polite", "[polite,short]"),
        "think": ("9",),
        "repeats": (),
        "min_mass": ("0.25",),
        "model": ("some/model",),
        "base_url": ("http://localhost:1/v1",),
        "args": (),
    },
    "likelihood": {
        "of": ("label", "text"),
        "normalize": ("none", "tokens", "characters"),
    },
    "rules": {"pattern": ("x+",), "call": ()},
}

pytestmark = pytest.mark.parametrize("name", sorted(SPECS))


def made(name: str) -> Verifier:
    verifier: Verifier = build("verifier", SPECS[name])
    return verifier


def test_the_catalog_holds_these_and_those_that_need_a_model(name: str) -> None:
    assert set(entries("verifier")) == SPECS.keys() | NEEDS_A_MODEL
    assert OPTIONS[name].keys() == {
        f.name for f in dataclasses.fields(load("verifier", name)) if f.init
    }


@pytest.mark.parametrize("law", VERIFIER_LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_law(name: str, law: VerifierLaw) -> None:
    law(made(name))


def test_its_options_are_taken_kept_and_written_again(name: str) -> None:
    plain, base = made(name), SPECS[name]
    assert build("verifier", spec_of(plain)) == plain
    given = Spec.parse(base)
    for option, values in OPTIONS[name].items():
        with pytest.raises(UnknownName, match=f"did you mean '{option}'"):
            build("verifier", f"{base}{',' if given.options else ':'}{option}x=1")
        for value in values:
            changed = build(
                "verifier",
                Spec(
                    name,
                    {**given.options, **Spec.parse(f"{name}:{option}={value}").options},
                ),
            )
            assert build("verifier", spec_of(changed)) == changed
            unset = getattr(plain, option) == getattr(changed, option)
            assert (changed == plain) == unset
