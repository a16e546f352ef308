"""The Berkeley Function-Calling Leaderboard (Patil 2025): which functions a reply calls, and with which arguments."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

from reasoner.answers.equivalence import Equivalence
from reasoner.answers.questions import Question
from reasoner.answers.tool_calls import ToolCallSpace, call_text, read_calls
from reasoner.errors import UnknownName, UsageError
from reasoner.trace.replies import GradeStatus
from reasoner.types import Answer, Message, Prompt
from reasoner_evals.tasks.benchmark import TaskData, Template, items_from, task_data
from reasoner_evals.tasks.data import DataRow, json_lines, published
from reasoner_evals.tasks.graders import GradedQuestion

KINDS: Final = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")
CATEGORIES: Final = (
    *KINDS, "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance",
    "live_relevance",
)  # fmt: skip
_TYPES: Final = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
    "any": str,
}  # fmt: skip
_SCHEMA: Final = {"float": "number", "tuple": "array", "dict": "object", "any": "string"}
_IGNORED: Final = re.compile(r"[ ,./\-_*^]")
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
    return _IGNORED.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value


def _fits_object(value: Mapping[str, Any], accepted: Any) -> bool:
    return (
        isinstance(accepted, dict)
        and all(name in accepted and _plain(part) in map(_plain, accepted[name]) for name, part in value.items())
        and all(name in value or "" in parts for name, parts in accepted.items())
    )


def _fits(value: Any, accepted: Sequence[Any], details: Mapping[str, Any]) -> bool:
    """Whether a value has the type of its parameter, or of the reference values, and equals one of these."""
    expected: type = _TYPES[details["type"]]
    inner = _TYPES[details["items"]["type"]] if expected is list else None
    if expected is float and type(value) is int:
        value = float(value)
    given = next((type(each) for each in accepted if each != ""), None)
    kind = type(value)
    if kind is not expected:
        return kind is given and value in accepted
    if inner and not any(not isinstance(each, list) or _of_type(value, each, inner) for each in accepted):
        return False
    # Reference values of another type stand for a variable.
    if given not in (None, expected):
        return value in accepted
    if expected is dict:
        return any(_fits_object(value, each) for each in accepted)
    if inner is dict:
        return any(
            len(value) == len(each) and all(map(_fits_object, value, each))
            for each in accepted
            if isinstance(each, list)
        )
    if expected is list:
        return [*map(_plain, value)] in [[*map(_plain, each)] for each in accepted]
    return _plain(value) in map(_plain, accepted)


def _of_type(values: Sequence[Any], accepted: Sequence[Any], expected: type) -> bool:
    given = next((type(each) for each in accepted if each != ""), None)
    return all(type(value) in (expected, given) for value in values)


def call_fits(
    name: str, arguments: Mapping[str, Any], accepted: Mapping[str, Any], function: Mapping[str, Any]
) -> bool:
    """Whether a call is the accepted one: every argument has one of its reference values, and none is missing."""
    [(expected, values)] = accepted.items()
    parameters = function["parameters"]
    return (
        name == _name(expected)
        and all(required in arguments for required in parameters["required"])
        and all(
            parameter in parameters["properties"]
            and parameter in values
            and _fits(value, values[parameter], parameters["properties"][parameter])
            for parameter, value in arguments.items()
        )
        and all(parameter in arguments or "" in accepted for parameter, accepted in values.items())
    )


@dataclass(frozen=True, slots=True)
class CallSpace(ToolCallSpace):
    """The tools that a reply calls; its text is in a form from which `read_calls` reads the same calls again."""

    def read(self, text: str) -> Answer | None:
        """As `ToolCallSpace` reads it."""
        answer, reply = ToolCallSpace.read(self, text), read_calls(text)
        return replace(answer, text=call_text(reply.calls)) if answer and reply and reply.calls else answer


@dataclass(frozen=True, slots=True)
class ByCalls:
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

    async def grade(self, item: GradedQuestion, answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """Whether the calls are those of the reference answer, each once."""
        read = read_calls(answer.text)
        calls = [(call.name, json.loads(call.arguments)) for call in read.calls] if read else []
        if self.category.endswith("relevance"):
            return "right" if bool(calls) != self.category.endswith("irrelevance") else "wrong"
        functions = {_name(function["name"]): function for function in json.loads(self.functions)}
        accepted = json.loads(item.gold)
        if len(calls) != len(accepted):
            return "wrong"
        for reference in accepted:
            function = functions[_name(next(iter(reference)))]
            fitting = next((call for call in calls if call_fits(*call, reference, function)), None)
            if fitting is None:
                return "wrong"
            calls.remove(fitting)
        return "right"


@dataclass(frozen=True, slots=True)
class Bfcl:
    """BFCL: calls of functions in one turn, 1,240 questions in five categories, and of its live part if you name it.

    `data` is the folder of its files, by default that of the package `bfcl-eval`, for which `pip install --no-deps
    bfcl-eval` is enough. `categories` are `simple_python`, `multiple`, `parallel`, `parallel_multiple`, `irrelevance`,
    those of the live part, such as `live_simple`, and `live_relevance`. A vote is over equal calls.
    """

    data: str = ""
    categories: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        for category in self.categories:
            if category not in CATEGORIES:
                raise UnknownName("category", category, CATEGORIES, of="bfcl")

    def load(self) -> TaskData:
        """All questions, category by category."""
        package = find_spec("bfcl_eval") if not self.data else None
        folder = Path(
            self.data
            or (
                f"{package.submodule_search_locations[0]}/data"
                if package and package.submodule_search_locations
                else ""
            )
        )
        items = [item for category in self.categories for item in self._category(folder, category)]
        return task_data(self, items, f"{folder}", _TEMPLATE, published("bfcl").licence)

    def _category(self, folder: Path, category: str) -> list[GradedQuestion]:
        [*_, questions] = [None, *sorted(folder.glob(f"BFCL_v?_{category}.json"))]
        if questions is None:
            raise UsageError(
                f"bfcl has no file BFCL_v?_{category}.json in {self.data or 'a package bfcl-eval'}: run `pip install "
                f"--no-deps bfcl-eval`, or fetch {published('bfcl').file}, and give it as bfcl:data=FOLDER"
            )
        answers = questions.parent / "possible_answer" / questions.name
        golds = {} if category.endswith("relevance") else {
            row.text("id"): row.value("ground_truth") for row in json_lines(answers)
        }  # fmt: skip

        def item(row: DataRow) -> GradedQuestion:
            name, functions = row.text("id"), row.value("function")
            try:
                [turn] = row.value("question")
                tools = [
                    {"type": "function", "function": _schema(function) | {"name": _name(function["name"])}}
                    for function in functions
                ]
                messages = tuple(Message(message["role"], message["content"]) for message in turn)
                gold = json.dumps(golds.get(name, []), sort_keys=True)
                space = CallSpace(tuple(tool["function"]["name"] for tool in tools))
            except (ValueError, TypeError, KeyError) as error:
                raise row.error("question", f"it is no question of one turn with functions ({error!r:.80})") from None
            prompt = Prompt(messages=messages, tools=json.dumps(tools, sort_keys=True))
            question = Question(f"bfcl/{name}", messages[-1].content, prompt, space)
            return GradedQuestion(question, gold, grader=ByCalls(category, json.dumps(functions, sort_keys=True)))

        return items_from(json_lines(questions), item)
