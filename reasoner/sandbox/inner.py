"""The programs inside the sandbox: the answer's code in one process, and the tests that judge it in another.

The interpreter gets it as text, like `child`; so it imports the standard library only.
`serve` holds the code and answers calls. `judge`, in a separate sandbox, holds the tests and makes the calls. They
exchange lines of JSON that hold plain values, so nothing that the code patches, overrides or prints affects the
assertions. The judge reports to the caller through a pipe that the code cannot access, in records that carry a nonce.

Lists, dicts, sets and byte arrays among the arguments are changed in place as the code changed them. Instances of
subclasses of built-in types arrive as the built-in type, iterators as iterators over at most MAX_ITEMS values,
exceptions as the nearest built-in class. Other values cannot be passed, which fails the test.
"""

import builtins
import itertools
import json
import math
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

MAX_DETAIL = 300

Outcome = tuple[str, str]
"""A status and its detail."""


# What passes between the two: plain values, as JSON

MAX_ITEMS = 10_000
"""Maximum values of an iterator."""


class Uncrossable(Exception):
    """A value that cannot be encoded."""


def encode(value: object) -> object:
    """The value as JSON: scalars as they are, other values as a list that begins with the kind."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value) if abs(value) < (2**53) else ["int", hex(value)]
        case float():
            return (
                float(value) if math.isfinite(value) else ["float", repr(float(value))]
            )
        case complex():
            return ["complex", encode(value.real), encode(value.imag)]
        case bytes() | bytearray():
            return ["bytes" if isinstance(value, bytes) else "bytearray", value.hex()]
        case range():
            return ["range", value.start, value.stop, value.step]
    return _encode_collection(value)


def _encode_collection(value: object) -> object:
    match value:
        case dict():
            return [
                "dict",
                *([encode(key), encode(item)] for key, item in value.items()),
            ]
        case list() | tuple() | set() | frozenset():
            kind = next(
                kind
                for kind in (list, tuple, set, frozenset)
                if isinstance(value, kind)
            )
            return [kind.__name__, *map(encode, value)]
        case Iterator():
            items = list(itertools.islice(value, MAX_ITEMS + 1))
            if len(items) > MAX_ITEMS:
                raise Uncrossable(f"an iterator over more than {MAX_ITEMS} values")
            return ["iterator", *map(encode, items)]
    raise Uncrossable(f"an object of type {type(value).__name__}")


def decode(spelled: object) -> Any:
    """The value that `encode` encoded; raises what Python raises if there is none."""
    if not isinstance(spelled, list):
        return spelled
    kind, *items = spelled
    match kind:
        case "iterator" if len(items) > MAX_ITEMS:
            raise ValueError(f"an iterator over more than {MAX_ITEMS} values")
        case "list" | "tuple" | "set" | "frozenset" | "iterator":
            build: Callable[[Iterator[object]], object] = (
                iter if kind == "iterator" else getattr(builtins, kind)
            )
            return build(list(map(decode, items)))  # type: ignore[arg-type]
        case "dict":
            return {decode(key): decode(item) for key, item in items}
        case "int":
            return int(items[0], 16)
        case "float":
            return float(items[0])
        case "complex":
            return complex(decode(items[0]), decode(items[1]))
        case "bytes" | "bytearray":
            return getattr(builtins, kind).fromhex(items[0])
        case "range":
            return range(*items)
    raise ValueError(f"no value is encoded as {kind!r:.40}")


def same(a: object, b: object) -> bool:
    """Whether two values and all their types are equal; a tuple equals a list, and NaN equals NaN."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(
            same(item, b[key]) for key, item in a.items()
        )
    return a == b or (a != a and b != b)  # noqa: PLR0124


# The side of the code


def _resolved(module: types.ModuleType, name: str) -> Callable[..., object]:
    """The callable with a dotted name; classes in it are instantiated, so that `Solution.method` can be called."""
    resolved: Any = module
    for part in name.split("."):
        resolved = getattr(resolved() if isinstance(resolved, type) else resolved, part)
    if not callable(resolved):
        raise TypeError(f"{name} cannot be called")
    return resolved  # type: ignore[no-any-return]


def _answer(module: types.ModuleType, message: list[Any]) -> list[object]:
    name, args, kwargs = message
    before = [json.dumps(arg) for arg in args]
    values = [decode(arg) for arg in args]
    try:
        result = _resolved(module, name)(
            *values, **{key: decode(item) for key, item in kwargs.items()}
        )
        spelled = encode(result)
        after = [
            None if isinstance(value, Iterator) else encode(value) for value in values
        ]
    except Uncrossable as error:
        return ["uncrossable", str(error)]
    except BaseException as error:
        return _raised(error)
    return [
        "value",
        spelled,
        [
            [i, now]
            for i, now in enumerate(after)
            if now and json.dumps(now) != before[i]
        ],
    ]


def _raised(error: BaseException) -> list[object]:
    try:
        message = str(error)[:MAX_DETAIL]
    except BaseException:
        message = ""
    return ["raised", [kind.__name__ for kind in type(error).__mro__], message]


def serve(calls: TextIO, replies: TextIO) -> None:
    """Load the code from standard input, then answer each line with a line."""

    def say(message: list[object]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    source = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        code = compile(source, "<answer>", "exec", dont_inherit=True)
    except (
        SyntaxError,
        ValueError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        return say(["compile_error", f"{type(error).__name__}: {error}"])
    # Not `__main__`, so that a program's main part does not run.
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    try:
        exec(code, module.__dict__)  # noqa: S102
    except BaseException as error:
        return say(_raised(error))
    say(["loaded"])
    for line in calls:
        try:
            say(_answer(module, json.loads(line)))
        except (ValueError, RecursionError, MemoryError) as error:
            say(["uncrossable", f"{type(error).__name__}: {error}"])
    return None


def program(source: TextIO) -> None:
    """Run a program with its own standard input and output."""
    code = compile(source.read(), "<answer>", "exec", dont_inherit=True)
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    sys.argv = ["answer"]
    exec(code, module.__dict__)  # noqa: S102


def script(source: TextIO) -> None:
    """Run a program. Its output ends with what ended it, if it did not end by itself."""
    try:
        program(source)
    except Exception as error:
        with suppress(Exception):
            sys.stdout.flush()
        os.write(1, f"{_named(error)[:MAX_DETAIL]}\n".encode("utf-8", "replace"))
        os._exit(1)


# The side of the tests


class Broken(BaseException):
    """Ends a test; not an Exception, so that `except Exception` in the test does not catch it."""


class CodeUnderTest:
    """The code as the tests see it: a process at the other end of two pipes."""

    def __init__(
        self, calls: TextIO, replies: TextIO, report: Callable[[str], None]
    ) -> None:
        self._calls = calls
        self._replies = replies
        self._report = report
        self.called = False
        self.asked = 0
        self.broken: Outcome | None = None
        self.dead: Outcome | None = None

    def _break(self, status: str, why: str, *, dead: bool = False) -> Broken:
        self.broken = (status, why)
        if dead:
            self.dead = self.broken
        return Broken(why)

    def receive(self) -> list[Any]:
        """The next message from the code's process."""
        try:
            # Maximum characters of one message between the two
            line = self._replies.readline(8 * 2**20)
            if line.endswith("\n"):
                message = json.loads(line)
                if isinstance(message, list):
                    return message
        except (ValueError, RecursionError, MemoryError):
            line = "?"
        raise self._break(
            "crash",
            "its process sent no valid message" if line else "its process ended",
            dead=True,
        )

    def _ask(self, message: list[object]) -> list[Any]:
        if self.dead:
            self.broken = self.dead
            raise Broken
        try:
            self._calls.write(json.dumps(message) + "\n")
            self._calls.flush()
        except OSError:
            raise self._break("crash", "its process ended", dead=True) from None
        return self.receive()

    def leave_alone(self) -> None:
        """Report that until the first call a failure is not the code's."""
        if not self.called:
            self._report("alone")

    def call(self, name: str, *args: object, **kwargs: object) -> object:
        """The value that the code returns; raises what it raised."""
        if not self.called:
            self.called = True
            self._report("called")
        self.asked += 1
        try:
            spelled = [encode(arg) for arg in args]
            message: list[object] = [
                name,
                spelled,
                {key: encode(item) for key, item in kwargs.items()},
            ]
        except Uncrossable as error:
            raise self._break(
                "test_error", f"an argument cannot be passed: {error}"
            ) from None
        except RecursionError:
            # The argument may come from an earlier result of the code.
            status = "fail" if self.asked > 1 else "test_error"
            raise self._break(status, "an argument is nested too deeply") from None
        match self._ask(message):
            case ["raised", [*kinds], str(text)]:
                raise _exception(kinds, text)
            case ["value", value, [*changed]]:
                try:
                    for index, now in changed:
                        _overwrite(args[index], decode(now))
                    return decode(value)
                except (
                    ValueError,
                    TypeError,
                    KeyError,
                    IndexError,
                    AttributeError,
                    RecursionError,
                    OverflowError,
                ):
                    raise self._break(
                        "fail", "it returned what cannot be read"
                    ) from None
            case ["uncrossable", str(why)]:
                raise self._break("fail", f"its result cannot be passed: {why}")
        raise self._break("crash", "its process sent no valid message", dead=True)

    def stub(self, name: str) -> Callable[..., object]:
        """A function that calls the code's function of this name."""
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)


class Names(dict[str, Any]):
    """The names of a test: those that neither it nor Python defines are functions of the code."""

    def __init__(self, candidate: CodeUnderTest) -> None:
        super().__init__(__name__="tests")
        self._candidate = candidate

    def __missing__(self, name: str) -> Callable[..., object]:
        if hasattr(builtins, name):
            raise KeyError(name)
        return self._candidate.stub(name)


def _exception(kinds: Sequence[object], text: str) -> Exception:
    for kind in kinds:
        exception = getattr(builtins, str(kind), None)
        if isinstance(exception, type) and issubclass(exception, Exception):
            with suppress(TypeError):
                return (
                    exception(text)
                    if exception is not Exception
                    else Exception(f"{kinds[0]}: {text}")
                )
    return Exception(f"{kinds[0] if kinds else 'nothing'}: {text}")


def _overwrite(old: object, new: object) -> None:
    """Give the test's object the content that the code gave to its copy."""
    if type(old) is not type(new):
        raise TypeError
    match old:
        case list() | bytearray():
            old[:] = new  # type: ignore[call-overload]
        case dict() | set():
            old.clear()
            old.update(new)  # type: ignore[call-overload,arg-type]
        case tuple():
            for a, b in zip(old, new, strict=True):  # type: ignore[call-overload]
                if not same(a, b):
                    _overwrite(a, b)


def _run_source(
    candidate: CodeUnderTest, code: types.CodeType, entry_point: str
) -> None:
    namespace = Names(candidate)
    candidate.leave_alone()
    exec(code, namespace)  # noqa: S102
    check = namespace.get("check")
    if entry_point and isinstance(check, types.FunctionType):
        check(candidate.stub(entry_point))


def _run_call(
    candidate: CodeUnderTest, test: Mapping[str, Any], entry_point: str
) -> None:
    result = candidate.call(test["entry_point"] or entry_point, *decode(test["args"]))
    expected = decode(test["expected"])
    if not same(result, expected):
        raise AssertionError(f"{_shown(result)} is not {_shown(expected)}")


def _shown(value: object) -> str:
    try:
        return repr(value)[:100]
    except (ValueError, RecursionError, MemoryError):
        return f"a value of type {type(value).__name__}"


def _named(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:
        # Its arguments may hold a number with too many digits, or be nested too deeply.
        return type(error).__name__


def outcome(
    candidate: CodeUnderTest, test: Mapping[str, Any], entry_point: str
) -> Outcome:
    """The result of one test; it passes only if it called the code and nothing failed.

    An exception before the first call is the test's fault.
    """
    candidate.asked, candidate.broken = 0, None
    raised: BaseException | None = None
    try:
        code = compile(test.get("source", ""), "<tests>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return "test_error", _named(error)
    try:
        if "source" in test:
            _run_source(candidate, code, entry_point)
        else:
            _run_call(candidate, test, entry_point)
    except BaseException as error:
        raised = error
    if candidate.broken:
        return candidate.broken
    if raised and not candidate.asked:
        return (
            "test_error",
            f"the test calls nothing of the code before {_named(raised)}",
        )
    if raised:
        return "memory" if isinstance(raised, MemoryError) else "fail", _named(raised)
    return (
        ("pass", "")
        if candidate.asked
        else ("test_error", "the test calls nothing of the code")
    )


def loaded(candidate: CodeUnderTest) -> Outcome:
    """The result of loading the code."""
    try:
        match candidate.receive():
            case ["loaded"]:
                return "pass", ""
            case ["compile_error", str(why)]:
                return "compile_error", why
            case ["raised", [str(kind), *_], str(text)]:
                return "memory" if kind == "MemoryError" else "crash", f"{kind}: {text}"
    except Broken:
        assert candidate.dead
        return candidate.dead
    return "crash", "its process sent no valid message"


def judge(calls: TextIO, replies: TextIO, verdict: TextIO) -> None:
    """Run the tests of the job on standard input, and write a record for each."""
    job = json.load(sys.stdin)

    def say(index: int, ending: Outcome) -> None:
        record = {
            "nonce": job["nonce"],
            "test": index,
            "status": ending[0],
            "detail": ending[1][:MAX_DETAIL],
        }
        verdict.write(json.dumps(record) + "\n")
        verdict.flush()

    candidate = CodeUnderTest(calls, replies, lambda status: say(-1, (status, "")))
    beginning = loaded(candidate)
    say(-1, beginning)
    if beginning[0] == "pass":
        for index, test in enumerate(job["tests"]):
            say(index, outcome(candidate, test, job["entry_point"]))
    say(len(job["tests"]), ("end", ""))


ROLES: dict[str, tuple[Callable[..., None], str]] = {
    "serve": (serve, "rw"),
    "program": (program, "r"),
    "script": (script, "r"),
    "judge": (judge, "wrw"),
}


def main(role: str, *descriptors: str) -> None:
    """Run a role with its descriptors."""
    function, modes = ROLES[role]
    function(
        *(
            os.fdopen(int(fd), mode, encoding="utf-8")
            for fd, mode in zip(descriptors, modes, strict=True)
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
