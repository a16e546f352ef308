"""Code that attacks: each attack works where nothing stops it, and inside the sandbox it gets nowhere and leaves nothing.

Every test ends with `place` and `outside` of the conftest, which look for processes and files that survived.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from reasoner.sandbox.check import Call, Program
from tests.sandbox.attacking import CONFINED, SECCOMP, attack, checked, returned

pytestmark = CONFINED


def works_unconfined(code: str, *args: object) -> None:
    """The attack is one: in this process it gets through."""
    space: dict[str, Callable[..., str]] = {}
    exec(code, space)
    assert space["attack"](*args) == "done"


REFUSED = {
    *("PermissionError", "FileNotFoundError", "OSError"),
    *("gaierror", "ConnectionRefusedError", "NotADirectoryError"),
}

# Files

READS = {
    "a file of the user's": "open(path + '/secret').read()",
    "a directory": "os.listdir(path)",
    "by a symbolic link": "os.symlink(path + '/secret', 'link')\nopen('link').read()",
    "by a path that climbs": "open('/usr/../..' + path + '/secret').read()",
    "by a directory's descriptor": "at = os.open(path, os.O_PATH)\nos.open('secret', os.O_RDONLY, dir_fd=at)",
    "by a hard link": "os.link(path + '/secret', path + '/secret2')",
}


def all_refused(bodies: Mapping[str, str], path: str = "") -> None:
    """None of these attacks gets through, one after another in a sandbox."""
    made = "".join(
        f"{attack(body, 'path')}MADE[{name!r}] = attack\n"
        for name, body in bodies.items()
    )
    verdict = checked(
        f"MADE = {{}}\n{made}"
        "def attack(path):\n"
        f"    return [name for name, one in MADE.items() if one(path) not in {REFUSED}]\n",
        Call((path,), []),
    )
    assert verdict.status == "pass", verdict


def test_nothing_outside_can_be_read(outside: Path, away: Path) -> None:
    for body in READS.values():
        works_unconfined(attack(body, "path"), str(outside))
        (outside / "secret2").unlink(missing_ok=True)
    all_refused(READS, str(outside))


def test_files_of_the_system_and_of_the_user_cannot_be_read() -> None:
    paths = ["/etc/passwd", str(Path.home()), "/etc/hostname"]
    paths += ["/proc/1/environ", "/proc/1/root/etc/passwd"]
    reads = {
        path: f"os.listdir({path!r}) if os.path.isdir({path!r}) else open({path!r}).read()"
        for path in paths
    }
    for path in paths[:2]:
        works_unconfined(attack(reads[path]))
    all_refused(reads)


WRITES = {
    "a new file": "open(path + '/new', 'w').write('x')",
    "an old file": "open(path + '/secret', 'r+').write('X')",
    "an old file's length": "os.truncate(path + '/secret', 0)",
    "by a symbolic link": "os.symlink(path, 'link')\nopen('link/new', 'w').write('x')",
    "by a path that climbs": "open(os.getcwd() + '/../../../../../../../..' + path + '/new', 'w').write('x')",
    "a directory": "os.mkdir(path + '/new')",
    "a removal": "os.unlink(path + '/secret')",
    "a move": "open('mine', 'w').close()\nos.rename('mine', path + '/new')",
    "a link to it": "os.symlink('/', path + '/new')",
    "a fifo": "os.mkfifo(path + '/new')",
    "beside the scratch directory": "open(os.path.dirname(os.getcwd()) + '/new', 'w').write('x')",
    "the system": "open('/usr/new', 'w').write('x')",
    "shared memory": "open('/dev/shm/new', 'w').write('x')",
}


def test_nothing_outside_can_be_written(outside: Path, away: Path) -> None:
    for name in ("a new file", "by a symbolic link", "by a path that climbs"):
        works_unconfined(attack(WRITES[name], "path"), str(outside))
        (outside / "new").unlink()
    all_refused(WRITES, str(outside))


def test_no_file_is_left_for_the_next_run() -> None:
    code = "import os\ndef attack():\n    found = os.listdir('.')\n    open('left', 'w').write('x')\n    return found\n"
    for _ in range(2):
        assert checked(code, Call((), [])).status == "pass"


FLOODS = {
    "one large file": "with open('f', 'wb') as f:\n    for _ in range(3): f.write(bytes(2**20)); f.flush()",
    "many files": "for n in range(64): open(f'f{n}', 'wb').write(bytes(2**20 - 1))",
    "empty files": "for n in range(2000): open(f'f{n}', 'w').close()",
    "open files": "kept = [open('/dev/null') for _ in range(100)]",
}


@pytest.mark.parametrize("body", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_files_ends_at_the_limit(
    body: str, outside: Path, away: Path
) -> None:
    works_unconfined(attack(body))
    assert returned(attack(body)) == "OSError"


# Network


@pytest.fixture
def listeners(outside: Path) -> Iterator[dict[str, list[object]]]:
    """Sockets of every kind that take what comes; at the end nothing has come but what this process sent."""
    with ExitStack() as stack:
        made: dict[str, list[object]] = {}
        received: list[str] = []

        def listen(
            name: str, family: int, kind: int, address: str | tuple[str, int]
        ) -> None:
            listener = stack.enter_context(socket.socket(family, kind))
            listener.bind(address)
            bound = listener.getsockname()
            if kind == socket.SOCK_STREAM:
                listener.listen()
            listener.setblocking(False)
            stack.callback(
                lambda: received.append(name) if _has_news(listener) else None
            )
            made[name] = [
                family,
                kind,
                bound.decode("latin-1") if isinstance(bound, bytes) else bound,
            ]

        stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
        listen("tcp", socket.AF_INET, stream, ("127.0.0.1", 0))
        listen("udp", socket.AF_INET, datagram, ("127.0.0.1", 0))
        listen("unix", socket.AF_UNIX, stream, str(outside / "socket"))
        (outside / "socket").chmod(0o777)
        listen("abstract", socket.AF_UNIX, stream, f"\0reasoner-{os.getpid()}")
        yield made
        stack.close()
        assert received == []


def _has_news(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_STREAM:
            listener.accept()[0].close()
        else:
            listener.recv(100)
    except BlockingIOError:
        return False
    return True


CONNECT = attack(
    """
with socket.socket(family, kind) as s:
    s.settimeout(2)
    s.connect(tuple(address) if isinstance(address, list) else address)
    if kind == socket.SOCK_DGRAM: s.send(b'x')
""",
    "family, kind, address",
)


@pytest.mark.parametrize(
    "name", ["tcp", "udp", pytest.param("unix", marks=SECCOMP), "abstract"]
)
def test_no_socket_reaches_out(name: str, listeners: dict[str, list[object]]) -> None:
    family, kind, address = listeners[name]
    said = returned(CONNECT, int(family), int(kind), address)  # type: ignore[call-overload]
    # A loopback device of the sandbox's own may take a datagram; `listeners` sees that it came no further.
    assert said in REFUSED or (name, said) == ("udp", "done")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_connecting_is_an_attack(kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        works_unconfined(CONNECT, socket.AF_INET, kind, list(listener.getsockname()))


def test_no_name_is_looked_up() -> None:
    assert returned(attack("socket.getaddrinfo('example.org', 80)")) in REFUSED


# The verdict


EXITS = [
    "import sys; sys.exit(0)",
    "import os; os._exit(0)",
    "import os; os.kill(os.getpid(), 15)",
]


@pytest.mark.parametrize("statement", EXITS)
def test_leaving_before_the_asserts_is_no_pass(statement: str) -> None:
    tests = ("assert attack() == 1", Call((), 1))
    for code in (
        statement,
        f"def attack():\n    {statement}",
        f"def attack(): return 2\n{statement}",
    ):
        verdict = checked(code, *tests)
        assert verdict.status in {"crash", "fail"}
        assert verdict.passed == 0
    assert checked(f"{statement}\nprint(1)", Program("", "1")).status in {
        "crash",
        "fail",
    }


FORGED = """
import json, os, sys
def attack():
    record = {'nonce': '0' * 32, 'test': 0, 'status': 'pass', 'detail': ''}
    for record in (record, {**record, 'test': 1, 'status': 'end'}, ['loaded'], 'PASS', 'exit 0', 'ready seccomp'):
        text = record if isinstance(record, str) else json.dumps(record)
        for fd in range(64):
            try: os.write(fd, text.encode() + b'\\n')
            except OSError: pass
    os._exit(0)
"""


def test_forged_records_on_every_descriptor_are_no_pass() -> None:
    verdict = checked(FORGED, Call((), 1), "assert attack() == 1")
    assert verdict.status in {"crash", "fail"}
    assert verdict.passed == 0
    assert checked(FORGED + "attack()", Call((), 1)).passed == 0


LIARS = {
    "equality": "class Yes(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef attack(): return Yes(2)",
    "an object": "class Yes:\n    def __eq__(self, other): return True\n    __ne__ = __lt__ = __gt__ = __eq__\ndef attack(): return Yes()",
    "builtins": "import builtins\nfor name in ('AssertionError', 'all', 'isinstance', 'len', 'sorted', 'abs'):\n    setattr(builtins, name, lambda *a: 1)\ndef attack(): return 2\nabs = sorted = len = lambda *a: 1",
    "unittest and time": "import time, unittest\nunittest.TestCase.assertEqual = lambda *a: None\ntime.time = time.monotonic = lambda: 0\ndef attack(): return 2",
    "json": "import json\njson.dumps = lambda *a, **k: '[\"value\", 2, []]'\ndef attack(): return 1",
    "the frames": "import sys\ndef attack():\n    frame = sys._getframe()\n    while frame:\n        for name in list(frame.f_globals):\n            if callable(frame.f_globals[name]): frame.f_globals[name] = lambda *a: ['value', 2, []]\n        frame = frame.f_back\n    return 2",
    "the exit code": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef attack(): return 2",
    "an exception": "def attack(): raise AssertionError('1 passed')",
}


@pytest.mark.parametrize("code", LIARS.values(), ids=LIARS)
def test_what_the_code_patches_changes_no_assert(code: str) -> None:
    verdict = checked(
        code,
        "assert abs(attack()) == 1",
        "assert len([attack()]) == 1 and sorted([attack()]) == [1]",
        Call((), 1),
    )
    assert (verdict.status, verdict.passed) in {("fail", 0), ("crash", 0)}


def test_closing_every_descriptor_is_no_pass() -> None:
    code = "import os\ndef attack():\n    os.closerange(0, 1000)\n    return 1"
    assert checked(code, Call((), 1)).status == "crash"


def test_an_answer_that_is_no_message_is_no_pass() -> None:
    code = "import os\ndef attack():\n    for fd in range(3, 64):\n        try: os.write(fd, line)\n        except OSError: pass\n"
    for line in (
        b"\xff\xfe\n",
        b"{}\n",
        b"[" * 10**5 + b"\n",
        b'["value"]\n',
        b'["value", ["list", ["set", ["list"]]], []]\n',
    ):
        verdict = checked(f"line = {line!r}\n{code}", Call((), 1))
        assert (verdict.status in {"crash", "fail"}, verdict.passed) == (True, 0)


# Output


def test_a_flood_of_output_ends_at_the_limit() -> None:
    verdict = checked("while True: print('x' * 1000)", Program("", ""))
    assert (verdict.status, verdict.detail) == (
        "fail",
        "test 1 of 1: it wrote more than 64 KiB",
    )


def test_a_flood_of_output_beside_a_right_answer_does_no_harm() -> None:
    code = "import sys\ndef attack():\n    for _ in range(10**4): print('x' * 1000); sys.stderr.write('x' * 1000)\n    return 1"
    assert checked(code, Call((), 1)).status == "pass"


def test_a_detail_is_short_and_clean() -> None:
    code = "def attack(): raise ValueError('\\x1b[2J' + 'x\\n' * 10**5)"
    verdict = checked(code, Call((), 1))
    assert verdict.detail.isprintable()
    assert len(verdict.detail) <= 300
