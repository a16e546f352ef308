"""The Berkeley Function-Calling Leaderboard (Patil 2025): which functions a reply calls, and with which arguments."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

from reasoner import Answer, Prompt, Question
from reasoner.answers.equivalence import Equivalence
from reasoner.answers.tool_calls import ToolCallSpace, call_text, read_calls
from reasoner.errors import UsageError, require_name
from reasoner.trace.replies import GradeStatus
from reasoner.types import Message
from reasoner_evals.tasks.benchmark import TaskData, Template, items_from, task_data
from reasoner_evals.tasks.data import DataRow, json_lines, published
from reasoner_evals.tasks.graders import GradedQuestion

KINDS: Final = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
)
CATEGORIES: Final = (
    *KINDS,
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
_TYPES: Final = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
_SCHEMA: Final = {
    "float": "number",
    "tuple": "array",
    "dict": "object",
    "any": "string",
}
_TEMPLATE: Final = Template("as-published", 1, "")


def _name(written: str) -> str:
    """A function's name as tools may have it."""
    return written.replace(".", "_")


def _schema(part: Any) -> Any:
    """A description of parameters as a JSON schema: the types have other names."""
    if isinstance(part, list):
        return [_schema(value) for value in part]
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    renamed = {"type": _SCHEMA.get(kind, kind)} if isinstance(kind, str) else {}
    return {name: _schema(value) for name, value in part.items()} | renamed


def _plain(value: Any) -> Any:
    """Text without blanks, case and the punctuation that does not count."""
    return (
        re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"')
        if isinstance(value, str)
        else value
    )


def _given(accepted: Sequence[Any]) -> type | None:
    """The type of the reference values; an empty text says that the value may be missing."""
    return next((type(each) for each in accepted if each != ""), None)


def _fits_object(value: Any, accepted: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(accepted, dict)
        and all(
            name in accepted and _plain(part) in map(_plain, accepted[name])
            for name, part in value.items()
        )
        and all(name in value or "" in parts for name, parts in accepted.items())
    )


def _fits(value: Any, accepted: Sequence[Any], details: Mapping[str, Any]) -> bool:
    """Whether a value has the type of its parameter, or of the reference values, and equals one of these."""
    expected: type = _TYPES[details["type"]]
    inner = _TYPES[details["items"]["type"]] if expected is list else None
    if expected is float and type(value) is int:
        value = float(value)
    kind, given, lists = (
        type(value),
        _given(accepted),
        [each for each in accepted if isinstance(each, list)],
    )
    if kind is not expected:
        return kind is given and value in accepted
    fitting = (
        (all(type(part) in (inner, _given(each)) for part in value) for each in lists)
        if inner
        else ()
    )
    if inner and len(lists) == len(accepted) and not any(fitting):
        return False
    # Reference values of another type stand for a variable.
    if given not in (None, expected):
        return value in accepted
    if expected is dict:
        return any(_fits_object(value, each) for each in accepted)
    if inner is dict:
        return any(
            len(value) == len(each) and all(map(_fits_object, value, each))
            for each in lists
        )
    if inner:
        return [*map(_plain, value)] in [[*map(_plain, each)] for each in accepted]
    return _plain(value) in map(_plain, accepted)


def _call_fits(
    name: str, arguments: Mapping[str, Any], accepted: Mapping[str, Any], functions: Any
) -> bool:
    """Whether a call is the accepted one: every argument has one of its reference values, and none is missing."""
    [(function, values)] = accepted.items()
    parameters = functions[function]["parameters"]
    known = parameters["properties"]
    return (
        name == _name(function)
        and all(each in arguments for each in parameters["required"])
        and all(each in arguments or "" in values[each] for each in values)
        and all(
            each in known and each in values and _fits(value, values[each], known[each])
            for each, value in arguments.items()
        )
    )


@dataclass(frozen=True, slots=True)
class CallSpace(ToolCallSpace):
    """The tools that a reply calls; its text is in a form from which `read_calls` reads the same calls again."""

    def read(self, text: str) -> Answer | None:
        """As `ToolCallSpace` reads it."""
        answer, reply = ToolCallSpace.read(self, text), read_calls(text)
        return (
            replace(answer, text=call_text(reply.calls))
            if answer and reply and reply.calls
            else answer
        )


@dataclass(frozen=True, slots=True)
class CallGrader:
    """Grades calls by the published rules of matching syntax trees; the order of parallel calls does not count.

    `category` decides where there is no reference call: whether a reply must call nothing, or anything at all.
    `functions` is the JSON of those that were offered, as published.
    """

    name: ClassVar[str] = "calls"
    version: ClassVar[int] = 1

    category: str
    functions: str = field(repr=False)

    @property
    def references(self) -> tuple[str, ...]:
        """The functions."""
        return (self.functions,)

    async def grade(
        self, item: GradedQuestion, answer: Answer, equivalence: Equivalence
    ) -> GradeStatus:
        """Whether the calls are those of the reference answer, each once."""
        read = read_calls(answer.text)
        calls = (
            [(call.name, json.loads(call.arguments)) for call in read.calls]
            if read
            else []
        )
        if self.category.endswith("relevance"):
            return (
                "right"
                if bool(calls) != self.category.endswith("irrelevance")
                else "wrong"
            )
        functions = {
            function["name"]: function for function in json.loads(self.functions)
        }
        accepted = json.loads(item.gold)
        if len(calls) != len(accepted):
            return "wrong"
        for reference in accepted:
            try:
                calls.remove(
                    next(
                        call
                        for call in calls
                        if _call_fits(*call, reference, functions)
                    )
                )
            except StopIteration:
                return "wrong"
            except (KeyError, TypeError, ValueError):  # The data is not as published.
                return "grader_crash"
        return "right"


@dataclass(frozen=True, slots=True)
class Bfcl:
    """BFCL: calls of functions in one turn, 1,240 questions in five categories, and of its live part if you name it.

    `path` is the folder of its files, by default the one of the package `bfcl-eval`, for which `pip install --no-deps
    bfcl-eval` is enough. `categories` are `simple_python`, `multiple`, `parallel`, `parallel_multiple`, `irrelevance`,
    those of the live part, such as `live_simple`, and `live_relevance`. A vote is over equal calls.
    """

    path: str = ""
    categories: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        for category in self.categories:
            require_name("category", category, CATEGORIES, of="bfcl")

    def load(self) -> TaskData:
        """All questions, category by category."""
        package = getattr(find_spec("bfcl_eval"), "origin", None)
        folder = (
            Path(self.path)
            if self.path
            else Path(package or "bfcl-eval").with_name("data")
        )
        items = [
            item
            for category in self.categories
            for item in self._category(folder, category)
        ]
        return task_data(self, items, f"{folder}", _TEMPLATE, published("bfcl").licence)

    def _category(self, folder: Path, category: str) -> list[GradedQuestion]:
        questions = max(folder.glob(f"BFCL_v?_{category}.json"), default=None)
        if questions is None:
            raise UsageError(
                f"bfcl has no file BFCL_v?_{category}.json in {self.path or 'a package bfcl-eval'}: run `pip install "
                f"--no-deps bfcl-eval`, or fetch {published('bfcl').file}, and give it as bfcl:path=FOLDER"
            )
        free, golds = (
            category.endswith("relevance"),
            questions.parent / "possible_answer" / questions.name,
        )
        answers = (
            {}
            if free
            else {
                row.text("id"): row.value("ground_truth") for row in json_lines(golds)
            }
        )

        def item(row: DataRow) -> GradedQuestion:
            name, functions = row.text("id"), row.value("function")
            try:
                [turn] = row.value("question")
                messages = tuple(
                    Message(message["role"], message["content"]) for message in turn
                )
                offered = [
                    _schema(function) | {"name": _name(function["name"])}
                    for function in functions
                ]
                gold = json.dumps([] if free else answers[name], sort_keys=True)
            except (ValueError, TypeError, KeyError) as error:
                raise row.error(
                    "question",
                    f"it is not a question of one turn with functions ({error!r:.80})",
                ) from None
            tools = json.dumps(
                [{"type": "function", "function": function} for function in offered],
                sort_keys=True,
            )
            question = Question(
                f"bfcl/{name}",
                messages[-1].content,
                Prompt(messages=messages, tools=tools),
                CallSpace(tuple(function["name"] for function in offered)),
            )
            return GradedQuestion(
                question,
                gold,
                grader=CallGrader(category, json.dumps(functions, sort_keys=True)),
            )

        return items_from(json_lines(questions), item)
