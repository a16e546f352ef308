"""Reads labelled runs: sequences with their grades and ratings."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner import Completion
from reasoner.errors import UsageError
from reasoner.trace.events import Began, Sampled, Scored
from reasoner.trace.replies import Grade, completions_in, labelled_folders, read_run


@dataclass(frozen=True, slots=True)
class LabelledSequence:
    """A sequence of a labelled run, its grade, its rating if any, and the spec of the verifier that rated it."""

    sampled: Sampled
    completion: Completion
    grade: Grade
    rating: Scored | None
    verifier: str

    @property
    def question_id(self) -> str:
        """The id of its question."""
        return self.sampled.question_id

    @property
    def right(self) -> bool:
        """Whether its answer is right."""
        return self.grade.status == "right"

    @property
    def judged(self) -> bool:
        """Whether its answer was graded as right or wrong."""
        return self.grade.status in ("right", "wrong")


def read_labelled(runs: Sequence[Path]) -> list[LabelledSequence]:
    """The sequences of runs that have a grade, in the order of their traces.

    A run is a folder with a trace and grades, or the folder of an evaluation, with all its arms. A sample that
    arms share is included once, with its rating if one of the arms has one.

    Raises:
        TraceError: a run cannot be read, or lacks the prompt of a sequence.
    """
    return [sample for run in runs for sample in _distinct(labelled_folders(run))]


def _distinct(folders: Sequence[Path]) -> Iterable[LabelledSequence]:
    """The samples of all arms of a run, once each: samples of equal prompt, index, seed and text are the same."""
    distinct: dict[tuple[str, str, int, int, str], LabelledSequence] = {}
    for sample in (sample for folder in folders for sample in _labelled(folder)):
        draw = sample.sampled
        name = (draw.question_id, draw.prompt, draw.index, draw.seed, draw.text)
        if name not in distinct or (
            distinct[name].rating is None and sample.rating is not None
        ):
            distinct[name] = sample
    return distinct.values()


def _labelled(folder: Path) -> Iterator[LabelledSequence]:
    run = read_run(folder)
    verifiers = {
        event.question_id: event.verifier
        for event in run.events
        if isinstance(event, Began)
    }
    ratings = {
        (e.question_id, e.prompt, e.index): e
        for e in run.events
        if isinstance(e, Scored)
    }
    for event, completion in completions_in(run.events):
        name = (event.question_id, event.prompt, event.index)
        if grade := run.grades.get(name):
            yield LabelledSequence(
                event,
                completion,
                grade,
                ratings.get(name),
                verifiers.get(event.question_id, ""),
            )


def rated_by(labelled: Sequence[LabelledSequence]) -> str:
    """The spec of the one verifier that rated these sequences."""
    specs = sorted({sample.verifier for sample in labelled if sample.verifier})
    if len(specs) != 1:
        named = " and ".join(specs) if specs else "none"
        raise UsageError(
            f"these runs were rated by {named}: give runs that one verifier rated, such as those of best_of_n"
        )
    return specs[0]


def fitted_on(used: Sequence[LabelledSequence]) -> dict[str, int]:
    """The numbers of questions, ratings and right ones that a map or a head was fitted on, for its file."""
    questions = len({sample.question_id for sample in used})
    return {
        "questions": questions,
        "ratings": len(used),
        "right": sum(sample.right for sample in used),
    }
