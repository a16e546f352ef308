"""Puzzles made on the spot by reasoning-gym: endless, offline, and each a function of its seed and number."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from decimal import localcontext
from importlib.metadata import version
from typing import Any, ClassVar

from reasoner.answers import NumberSpace, TextSpace, YesNoSpace
from reasoner.answers.expressions import ExpressionSpace
from reasoner.errors import UnknownName, UsageError, require
from reasoner.files import parse_json
from reasoner.types import AnswerSpace
from reasoner_evals.graders.gym import ByGym, made
from reasoner_evals.grading import ByReference, ByRules, GradedQuestion, Grader
from reasoner_evals.tasks import gym_names
from reasoner_evals.tasks.benchmark import collected
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.task import TaskData
from reasoner_evals.tasks.verbatim import VerbatimSpace

MAX_SIZE = 100_000


@dataclass(frozen=True, slots=True)
class Gym:
    """Puzzles of reasoning-gym, as in `gym:chain_sum,size=200,config=[min_terms:2,max_terms:2]`; needs the extra `gym`.

    `config` sets the generator's own options. Puzzle i+1 of a seed is puzzle i of the next seed: keep seeds for tuning
    and for reporting further apart than `size`. Puzzles that repeat are asked once, so there may be fewer than `size`.
    Only names whose scorers were found safe and right are allowed; others have graders of ours.
    """

    name: str
    size: int = 100
    seed: int = 0
    config: tuple[str, ...] = ()

    template: ClassVar[Template] = Template("plain", 1)

    def __post_init__(self) -> None:
        if why := gym_names.REFUSED.get(self.name):
            raise UsageError(f"gym:{self.name} is refused: {why}")
        if self.name not in gym_names.NAMES:
            raise UnknownName("data set", self.name, gym_names.NAMES, of="reasoning-gym")
        require(self.size, "size", at_least=1, at_most=MAX_SIZE)

    def load(self) -> TaskData:
        """The puzzles, in the generator's order, each once.

        Raises:
            UsageError: reasoning-gym is not installed, or does not take the options.
        """
        found: dict[str, GradedQuestion] = {}
        # Some generators set the precision of all decimals in the process.
        with localcontext():
            puzzles = self._made()
            for place in range(self.size):
                item = self._item(dict(puzzles[place]), self._group(puzzles, place))
                found.setdefault(item.question.id, item)
        origin = f"made by reasoning-gym {version('reasoning-gym')}, seed {self.seed}"
        return collected(self, list(found.values()), origin, self.template, "Apache-2.0")

    def _made(self) -> Any:
        options = json.dumps(_options(self.config), sort_keys=True)
        try:
            return made(self.name, options, size=self.size, seed=self.seed)
        except ImportError as error:
            raise UsageError(f"reasoning-gym cannot be imported ({error}): install reasoner-kit[gym]") from None
        except TypeError:
            known = [field.name for field in dataclasses.fields(_config_class(self.name))]
            unknown = next((name for name in _options(self.config) if name not in known), self.config[0])
            raise UnknownName("config", unknown, known, of=f"gym {self.name}") from None
        except Exception as error:
            raise UsageError(f"gym:{self.name} does not take config=[{','.join(self.config)}]: {error}") from None

    def _group(self, puzzles: Any, place: int) -> str:
        """What puzzles share: the template of a word problem, of which there are 85."""
        return f"template {puzzles.task_indices[place]}" if self.name == "gsm_symbolic" else ""

    def _item(self, entry: dict[str, Any], group: str) -> GradedQuestion:
        text = str(entry["question"]).strip()
        gold = "" if entry["answer"] is None else str(entry["answer"])
        space, grader = self._judged(entry)
        question = self.template.ask(text, space, id=f"gym/{self.name}/{_digest(text)}")
        return GradedQuestion(question, gold, group=group, grader=grader)

    def _judged(self, entry: dict[str, Any]) -> tuple[AnswerSpace, Grader]:
        facts = entry["metadata"]
        if self.name in gym_names.NUMBER:
            return NumberSpace(), ByReference()
        if self.name in gym_names.YES_NO:
            return YesNoSpace(), ByReference()
        if self.name in gym_names.TEXT:
            return TextSpace(), ByReference()
        if self.name in gym_names.EXPRESSION:
            numbers = tuple(int(number) for number in facts["numbers"])
            return ExpressionSpace(numbers, int(facts.get("target", 24)), use_all=True), ByRules()
        if self.name in gym_names.VERBATIM:
            others = facts.get("valid_answers", ()) if self.name == "n_queens" else ()
            return VerbatimSpace(), ByReference(tuple(map(str, others)))
        return VerbatimSpace(), ByGym(self.name, json.dumps(_options(self.config), sort_keys=True), entry)


def _options(config: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in config:
        name, colon, written = (part.strip() for part in pair.partition(":"))
        if not (name and colon) or name in ("size", "seed"):
            raise UsageError(f"config={pair!r} sets nothing: write config=[NAME:VALUE,NAME:VALUE], size and seed apart")
        try:
            found[name] = parse_json(written)
        except ValueError:
            found[name] = written
    return found


def _config_class(name: str) -> Any:
    from reasoning_gym.factory import DATASETS  # type: ignore[import-untyped]

    return DATASETS[name][1]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
