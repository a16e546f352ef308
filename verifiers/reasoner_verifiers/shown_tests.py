"""The tests that a programmer's question shows: doctests, assertions, calls with results, inputs with outputs.

Precision goes before recall: what can be read in two ways is no test. A user wrote the question and a model the reply,
so both are only parsed here; tests run in the sandbox.
"""

import ast
import builtins
import doctest
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, TypeGuard

from reasoner.answers.code import syntax_tree
from reasoner.sandbox.check import Program

MAX_TEXT: Final = 20_000
"""Characters of a text in which tests are looked for."""
MAX_TESTS: Final = 50
"""The most tests that are taken from one text."""
MAX_LINES: Final = 10
"""The most lines of one assertion or signature."""

_DEFINITION = re.compile(
    r"^(?P<indent>[ \t]*)(?:async )?def (?P<name>\w+)[ \t]*\(", re.MULTILINE
)
_CLASS = re.compile(r"^class (\w+)", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n?", re.MULTILINE)
_SIGN = re.compile(
    r"`?\s*(?P<sign>[=-]*[=-]>|➞|→|⇒|={1,2}|(?:will |should )?(?:return|be|give|equal)s?\b|is\b|evaluates to\b)\s*:?\s*"
)
_PAIR = re.compile(
    r"^[ \t>*-]*+(?:(?:sample|example) )?input(?: \d+)?\**[ \t]*:\**[ \t]*+(?P<given>\S[^\n]*)\n\s*+"
    r"[>*-]*+[ \t]*+(?:(?:sample|example) )?output(?: \d+)?\**[ \t]*:\**[ \t]*+(?P<expected>\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_GIVEN = re.compile(
    r"^[^\w\n]*+for (?P<given>\w+ *=[^\n]*?),? (?:the )?(?:output|result) (?:should be|will be|is) "
    r"(?P<expected>\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_SAMPLE = re.compile(
    r"^[ \t#*-]*+(?:sample|example) (input|output)\b[^\n]*\n",
    re.IGNORECASE | re.MULTILINE,
)
"""The heading of an input or an output."""
_BRACKET = re.compile(
    r"[()\[\]{}]|'(?:[^'\\]|\\.)*+'?|\"(?:[^\"\\]|\\.)*+\"?", re.DOTALL
)
"""A bracket, or a text in quotation marks, whose brackets do not count."""
_SPELLED: Final = {"true": True, "false": False, "null": None, "none": None}
"""How other languages spell Python's constants."""
_IMPORTS = (ast.Import, ast.ImportFrom)
_ABOVE = (
    *_IMPORTS,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
)
"""The statements that code above a function may have."""


@dataclass(frozen=True, slots=True)
class AskedFunction:
    """The function that a question asks for.

    `name` is dotted for a method; its `parameters` leave out `self`, and are None where there is no signature.
    `preamble` is the code that the question has above it, which every answer may use.
    """

    name: str
    parameters: tuple[str, ...] | None = None
    preamble: str = ""

    @property
    def called(self) -> str:
        """The name by which a test calls it."""
        return self.name.rpartition(".")[2]


class ReadTest(NamedTuple):
    """A test as it was read: the expression whose value it states, if it is one, and its Python."""

    subject: str
    source: str


def asked_function(text: str, names: Sequence[str]) -> AskedFunction | None:
    """The last function that a text begins to define, or else calls most often, among those with these names."""
    text = text[:MAX_TEXT]
    for definition in reversed([*_DEFINITION.finditer(text)]):
        if definition["name"] in names:
            return _begun(text, definition)
    calls = Counter(match[1] for match in re.finditer(r"(?<![\w.])(\w+)\(", text))
    known = [
        name
        for name in names
        if calls[name] and not hasattr(builtins, name) and not name[0].isupper()
    ]
    return AskedFunction(max(known, key=calls.__getitem__)) if known else None


def shown_tests(text: str, asked: AskedFunction | None) -> tuple[str | Program, ...]:
    """The tests that a question shows, as Python for its function, or as inputs and outputs of a program.

    Tests that contradict each other are left out.
    """
    text = text[:MAX_TEXT]
    if asked is None:
        return tuple(dict.fromkeys(_programs(text)))[:MAX_TESTS]
    pairs = [*_results(text, asked), *_inputs(text, asked)]
    sessions = (
        []
        if "." in asked.name
        else [*_sessions(_FENCE.sub("\n", re.sub(r"\"\"\"|'''", "\n", text)), asked)]
    )
    read = dict.fromkeys([*sessions, *pairs])
    stated = Counter(test.subject for test in read if test.subject)
    return tuple(test.source for test in read if stated[test.subject] <= 1)[:MAX_TESTS]


def written_tests(reply: str, asked: AskedFunction) -> tuple[str, ...]:
    """The assertions of a model's reply that state the result of one call, both as plain values."""
    sources = dict[str, None]()
    for statement in _assertions(reply[-MAX_TEXT:]):
        match statement.test:
            case ast.Compare(call, [ast.Eq() | ast.Is()], [value]) if _is_call(
                call, asked
            ):
                if _has_plain_arguments(call) and _is_plain(value):
                    sources[_stated(call, value, asked).source] = None
    return tuple(sources)


# The function


def _begun(text: str, definition: re.Match[str]) -> AskedFunction | None:
    """The function whose definition a text begins, with its signature and the code above it."""
    name, start = definition["name"], definition.start()
    signature = _signature(text[start:])
    parameters = (
        None
        if signature is None
        else [each.arg for each in (*signature.posonlyargs, *signature.args)]
    )
    if parameters and parameters[0] == "self":
        owner = [*_CLASS.finditer(text, 0, start)][-1:]
        if not owner or owner[0][1] != "Solution":
            return None
        name, start, parameters = f"Solution.{name}", owner[0].start(), parameters[1:]
    above = text[:start]
    for fence in [*_FENCE.finditer(text, 0, start)][-1:]:
        above = text[fence.end() : start]
    tree = syntax_tree(above)
    plain = tree is not None and all(
        isinstance(node, _ABOVE)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in tree.body
    )
    return AskedFunction(
        name, None if parameters is None else tuple(parameters), above if plain else ""
    )


def _signature(text: str) -> ast.arguments | None:
    """The parameters of the definition at the beginning of a text."""
    lines = text.split("\n", MAX_LINES)[:MAX_LINES]
    for end in range(1, len(lines) + 1):
        header = textwrap.dedent("\n".join(lines[:end])).strip()
        tree = syntax_tree(f"{header} pass" if header.endswith(":") else header)
        if tree and isinstance(tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
            return tree.body[0].args
    return None


# Python that the text shows: doctests and assertions


def _sessions(text: str, asked: AskedFunction) -> Iterator[ReadTest]:
    """The doctests, which may use what earlier lines assigned or imported, and the assertions."""
    above = syntax_tree(asked.preamble)
    nodes = above.body if above else []
    known = {
        asked.called,
        *(node.name for node in nodes if isinstance(node, ast.FunctionDef)),
    }
    imports = [node for node in nodes if isinstance(node, _IMPORTS)]
    setup, names = [*map(ast.unparse, imports)], _names_bound(imports)

    def test(
        expression: ast.expr, source: str, subject: str = ""
    ) -> Iterator[ReadTest]:
        used = _names_used(expression)
        if (
            any(_is_call(node, asked) for node in ast.walk(expression))
            and used <= known | names
        ):
            before = setup if used & names else []
            yield ReadTest(subject, "\n".join((*before, source)))

    examples = _doctests(text)
    shows_results = any(example.want.strip() for example in examples)
    for example in examples:
        tree = syntax_tree(example.source.strip())
        match tree.body if tree else []:
            case [ast.Expr(expression)]:
                if expected := _wanted(
                    expression, example.want, shows_results=shows_results
                ):
                    read = _stated(expression, expected, asked)
                    yield from test(expression, read.source, read.subject)
                elif isinstance(expression, ast.Compare) and example.want.strip() in (
                    "",
                    "True",
                ):
                    read = _asserted(expression, asked)
                    yield from test(expression, read.source, read.subject)
            case [
                ast.Assign()
                | ast.AnnAssign()
                | ast.Import()
                | ast.ImportFrom() as statement
            ]:
                if _names_used(statement) <= known | names:
                    setup.append(ast.unparse(statement))
                    names |= _names_bound([statement])
    for assertion in _assertions(text):
        read = _asserted(assertion.test, asked)
        yield from test(assertion.test, read.source, read.subject)


def _doctests(text: str) -> list[doctest.Example]:
    """The examples of all sessions in a text; none if one of them is not well formed."""
    try:
        return [
            each
            for each in doctest.DocTestParser().get_examples(text)
            if not each.exc_msg
        ]
    except ValueError:
        return []


def _wanted(expression: ast.expr, want: str, *, shows_results: bool) -> ast.expr | None:
    """The value that a doctest shows below an expression: nothing means None, where other examples show results."""
    want = textwrap.dedent(want).strip()
    if not want:
        return (
            ast.Constant(value=None)
            if shows_results and isinstance(expression, ast.Call)
            else None
        )
    return _plain(want) or _plain(want.split("\n")[0])


def _assertions(text: str) -> Iterator[ast.Assert]:
    """The assertions in a text, each at the beginning of a line."""
    lines = text.split("\n")
    starts = [at for at, line in enumerate(lines) if re.match(r"\s*assert\b", line)]
    for start, following in pairwise([*starts, len(lines)]):
        for end in range(start + 1, min(start + MAX_LINES, following) + 1):
            tree = syntax_tree("\n".join(lines[start:end]).strip())
            if tree and isinstance(tree.body[0], ast.Assert):
                yield tree.body[0]
                break


def _asserted(test: ast.expr, asked: AskedFunction) -> ReadTest:
    """The test that an assertion makes, without its message."""
    match test:
        case ast.Compare(call, [ast.Eq() | ast.Is()], [value]) if _is_plain(value):
            return _stated(call, value, asked)
    source = ast.unparse(test)
    return ReadTest(source, f"assert {source}")


# Calls with their results in prose, and inputs with outputs


def _results(text: str, asked: AskedFunction) -> Iterator[ReadTest]:
    """Lines such as `f([1, 2]) == 3`, `f(1) -> 2` or `f(1) returns 2`.

    Where a sign also follows a call with variables, as in `f(n) = f(n - 1) + 2`, it defines and does not show.
    """
    results = [result for line in text.split("\n") for result in _calls(line, asked)]
    defines = {sign for call, sign, _ in results if not _has_plain_arguments(call)}
    for call, sign, value in results:
        if (
            value
            and (sign not in defines or sign[0].isalpha())
            and _has_plain_arguments(call)
        ):
            yield _stated(call, value, asked)


def _calls(
    line: str, asked: AskedFunction
) -> Iterator[tuple[ast.expr, str, ast.expr | None]]:
    """The calls of the function in one line of prose, with their signs, and the plain value behind the last."""
    if re.match(r"\s*(?:>>>|\.\.\.|assert\b|(?:async )?def\b|return\b)", line):
        return
    calls: list[tuple[ast.expr, re.Match[str]]] = []
    opening = re.compile(rf"(?<![\w.]){re.escape(asked.called)}\(")
    end = 0
    while (called := opening.search(line, end)) and (
        end := _closing(line, called.end())
    ):
        call = _expression(line[called.start() : end])
        if (
            call is not None
            and _is_call(call, asked)
            and (sign := _SIGN.match(line, end))
        ):
            calls.append((call, sign))
    for left, (call, sign) in enumerate(calls, 1 - len(calls)):
        yield call, sign["sign"], None if left else _plain_spelled(line[sign.end() :])


def _closing(line: str, start: int) -> int:
    """Where the bracket ends that opened before an offset; 0 if it does not."""
    depth = 1
    for mark in _BRACKET.finditer(line, start):
        depth += (mark[0] in "([{") - (mark[0] in ")]}")
        if depth == 0:
            return mark.end()
    return 0


def _inputs(text: str, asked: AskedFunction) -> Iterator[ReadTest]:
    """Pairs such as `Input: xs = [1, 2], k = 1` above `Output: 2`, and `For n = 3 the output should be 6`."""
    for pair in [*_PAIR.finditer(text), *_GIVEN.finditer(text)]:
        call = _expression(f"{asked.called}({_uncommented(pair['given']).strip('` ')})")
        value = _plain_spelled(pair["expected"])
        if (
            value is None
            or call is None
            or not asked.parameters
            or not _has_plain_arguments(call)
        ):
            continue
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        if not call.args and named.keys() == set(asked.parameters):
            call.args, call.keywords = [named[name] for name in asked.parameters], []
        if len(call.args) == len(asked.parameters) and not call.keywords:
            yield _stated(call, value, asked)


def _programs(text: str) -> Iterator[Program]:
    """Inputs and outputs of a program that reads standard input."""
    if not re.search(r"\bstdin\b|\bstandard input\b", text, flags=re.IGNORECASE):
        return
    _, *parts = _SAMPLE.split(text)
    headed = zip(map(str.lower, parts[::2]), map(str.strip, parts[1::2]), strict=True)
    samples = [
        (given, re.split(r"\n\s*\n", expected, maxsplit=1)[0])
        for (first, given), (second, expected) in pairwise(headed)
        if (first, second) == ("input", "output")
    ]
    for pair in (*samples, *(pair.groups() for pair in _PAIR.finditer(text))):
        given, expected = (_FENCE.sub("", f"{part}\n").strip() for part in pair)
        if expected:
            yield Program(f"{given}\n", expected)


# Expressions


def _stated(call: ast.expr, value: ast.expr, asked: AskedFunction) -> ReadTest:
    """The test that a call has a value; a method is called through `check`, as the sandbox has it."""
    subject, expected = ast.unparse(call), ast.literal_eval(value)
    tested = (
        f"candidate{subject[len(asked.called) :]}" if "." in asked.name else subject
    )
    if isinstance(expected, float):
        claim = (
            # By how much a number may differ from a float that a text states, relative where that is
            # above 1
            f"assert abs({tested} - {expected!r}) <= {1e-6 * max(1, abs(expected))!r}"
        )
    elif expected is None:
        claim = f"assert {tested} is None"
    else:
        claim = f"assert {tested} == {ast.unparse(value)}"
    return ReadTest(
        subject, f"def check(candidate):\n    {claim}" if "." in asked.name else claim
    )


def _expression(text: str) -> ast.expr | None:
    """The only expression of a text."""
    tree = syntax_tree(text.strip())
    match tree.body if tree else []:
        case [ast.Expr(value)]:
            return value
    return None


def _plain(text: str) -> ast.expr | None:
    """A plain value; one value in brackets of its own is none, as it may stand for a tuple."""
    value = _expression(text)
    if (
        value is None
        or not _is_plain(value)
        or (text.lstrip()[:1] == "(") != isinstance(value, ast.Tuple)
    ):
        return None
    return value


def _plain_spelled(text: str) -> ast.expr | None:
    """A plain value at the end of a line, perhaps before a full stop or a comment, in the spelling of any language."""
    for rest in (text, _uncommented(text)):
        stripped = rest.strip("` \t").rstrip(".,;").rstrip("` \t")
        spelled = _SPELLED.get(stripped.lower(), ...)
        value = _plain(stripped) if spelled is ... else ast.Constant(value=spelled)
        if value is not None:
            return value
    return None


def _uncommented(text: str) -> str:
    """A line up to its comment."""
    return re.split(r"\s(?:#|//)", text, maxsplit=1)[0]


def _has_plain_arguments(node: ast.expr) -> TypeGuard[ast.Call]:
    """Whether an expression is a call with plain values."""
    return isinstance(node, ast.Call) and all(
        map(_is_plain, (*node.args, *(each.value for each in node.keywords)))
    )


def _is_plain(node: ast.expr) -> bool:
    """Whether an expression is a value without names."""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _is_call(node: ast.AST, asked: AskedFunction) -> bool:
    """Whether a node calls the function by its name."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == asked.called
    )


def _names_used(node: ast.AST) -> set[str]:
    """The names in a node that neither it nor Python defines."""
    names = [each for each in ast.walk(node) if isinstance(each, ast.Name)]
    own = {each.id for each in names if not isinstance(each.ctx, ast.Load)}
    own |= {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
    return {
        each.id
        for each in names
        if each.id not in own and not hasattr(builtins, each.id)
    }


def _names_bound(statements: Iterable[ast.stmt]) -> set[str]:
    """The names that assignments and imports define."""
    names = set[str]()
    for node in (each for statement in statements for each in ast.walk(statement)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
    return names
