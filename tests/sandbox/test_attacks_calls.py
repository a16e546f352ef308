"""System calls by which code reached its caller, or hid from the watch: refused, for root and for a normal user."""

import json
import os
import platform
import re
import struct
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import reasoner
from reasoner.sandbox import syscalls
from reasoner.sandbox.check import Call, Program
from reasoner.sandbox.layers import SandboxLimits, detect
from reasoner.sandbox.syscalls import numbers, seccomp_filter
from tests.sandbox import escapes, victim
from tests.sandbox.attacking import CONFINED, SECCOMP, WATCH, checked
from tests.waiting import PATIENCE

SOURCES = Path(reasoner.__file__).parents[1]
SOMEBODY = 54_321
"""A user that owns nothing."""


@cache
def ordeal(user: int) -> Any:
    """What `victim` tells when it is run as a user."""
    become: dict[str, Any] = (
        {"user": user, "group": user, "extra_groups": []}
        if user != os.geteuid()
        else {}
    )
    done = subprocess.run(
        [detect().python.path, "-B", "-m", victim.__name__],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)},
        **become,
    )
    if become and "No module named" in done.stderr:
        pytest.skip(f"user {user} may not read {SOURCES}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


USERS = [os.geteuid(), *([SOMEBODY] if os.geteuid() == 0 else [])]


@CONFINED
@SECCOMP
@pytest.mark.parametrize("user", USERS)
def test_no_system_call_reaches_the_caller(user: int) -> None:
    (status, detail, harm), _outside = ordeal(user)
    assert (status, detail, harm) == ("fail", "test 1 of 1: AssertionError:", [])


@CONFINED
@pytest.mark.parametrize("user", USERS)
def test_the_escapes_are_attacks(user: int) -> None:
    _inside, (became, harm) = ordeal(user)
    # Some kernels let only root watch a whole file system, some lack attributes in memory.
    assert {name for name, what in became.items() if what != "done"} <= {
        "names_of_all",
        "attributes",
    }
    assert {
        "st_mode",
        "st_mtime",
        "received leak",
        "received leak and a descriptor",
    } <= {*harm}


@CONFINED
@SECCOMP
def test_every_call_that_is_not_on_the_list_is_refused() -> None:
    code = Path(escapes.__file__).read_text("utf-8")
    tables = (syscalls._ALLOWED, syscalls._OF_OWN_FILES, syscalls._BY_ARGUMENTS)
    allowed = [
        number
        for table in tables
        for number in numbers(platform.machine(), table).values()
    ]
    assert checked(code, Call((allowed,), []), entry_point="sweep").status == "pass"


FROM_32_BITS = """
import ctypes, mmap
def attack():
    # mov eax, 20 (getpid); int 0x80
    code = bytes.fromhex('53b814000000cd805bc3')
    LIBC = ctypes.CDLL(None)
    LIBC.mmap.restype = ctypes.c_void_p
    place = LIBC.mmap(None, 4096, 7, 0x22, -1, 0)
    ctypes.memmove(place, code, len(code))
    return ctypes.CFUNCTYPE(ctypes.c_long)(place)()
"""


@CONFINED
@SECCOMP
@pytest.mark.skipif(
    platform.machine() != "x86_64",
    reason="only x86-64 has this second way into the kernel",
)
def test_the_calls_of_32_bits_are_refused() -> None:
    assert checked(FROM_32_BITS, Call((), -38)).status == "pass"


# What is refused by its arguments, and what is left to programs

HIDDEN = """
import mmap, os
def attack():
    child = os.fork()
    try:
        mmap.mmap(-1, 2**20)
    except PermissionError:
        if child == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
SOCKETS = """
import os, signal, socket
def attack():
    for _ in range(30):
        if os.fork() == 0:
            kept = []
            while True:
                try:
                    kept += socket.socketpair()
                except OSError:
                    signal.pause()
                for one in kept[-2:]:
                    one.setblocking(False)
                    try:
                        while True: one.send(bytes(30_000))
                    except BlockingIOError: pass
    signal.pause()
"""


@CONFINED
@SECCOMP
def test_memory_that_is_shared_and_shown_by_nobody_cannot_be_had() -> None:
    assert checked(HIDDEN, Call((), 7)).status == "pass"


@CONFINED
@WATCH
def test_memory_in_sockets_is_counted() -> None:
    verdict = checked(
        SOCKETS,
        Call((), None),
        limits=SandboxLimits(seconds=20, cpu_seconds=4, memory_mib=128),
    )
    assert (verdict.status, verdict.detail.rpartition(", ")[2]) == (
        "memory",
        "it held more than 128 MiB",
    )


@CONFINED
def test_code_has_no_capability_not_even_one_to_pass_on() -> None:
    code = """
import ctypes, struct
def attack():
    found = ctypes.create_string_buffer(24)
    done = ctypes.CDLL(None).capget(struct.pack('Ii', 0x20080522, 0), found)
    return [done, found.raw.hex()]
"""
    assert checked(code, Call((), [0, "00" * 24])).status == "pass"


@CONFINED
def test_no_file_that_a_program_is_given_can_be_written() -> None:
    code = """
import os
for fd in (0, *range(3, 64)):
    for attempt in (lambda: os.write(fd, b'x'), lambda: os.ftruncate(fd, 2**10)):
        try: attempt(); print(fd)
        except OSError: pass
print(input())
"""
    assert checked(code, Program("given", "given")).status == "pass"


@CONFINED
def test_queued_signals_end_at_the_limit() -> None:
    code = """
import ctypes, os, signal
def attack():
    signal.pthread_sigmask(signal.SIG_BLOCK, [40])
    return sum(ctypes.CDLL(None).sigqueue(os.getpid(), 40, 0) == 0 for _ in range(5000)) < 2000
"""
    assert checked(code, Call((), expected=True)).status == "pass"


LOCKS = """
import fcntl, os, struct
def shape(kind):
    return struct.pack("hhqqi4x", kind, 0, 0, 0, 0)
def attack():
    locks = {
        "flock": lambda file: fcntl.flock(file, fcntl.LOCK_SH),
        "F_SETLK": lambda file: fcntl.fcntl(file, fcntl.F_SETLK, shape(fcntl.F_RDLCK)),
        "F_SETLKW": lambda file: fcntl.fcntl(file, fcntl.F_SETLKW, shape(fcntl.F_RDLCK)),
        "F_OFD_SETLK": lambda file: fcntl.fcntl(file, 37, shape(fcntl.F_RDLCK)),
        "F_OFD_SETLKW": lambda file: fcntl.fcntl(file, 38, shape(fcntl.F_RDLCK)),
    }
    held = []
    for name, lock in locks.items():
        with open(os.__file__) as one, open(os.__file__) as other:
            lock(one)
            try: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError: held.append(name)
            if os.fork() == 0:
                found = fcntl.fcntl(other, fcntl.F_GETLK, shape(fcntl.F_WRLCK))
                os._exit(found[:2] != shape(fcntl.F_UNLCK)[:2])
            if os.wait()[1]: held.append(name)
    return held
"""


@CONFINED
@SECCOMP
def test_a_lock_of_a_system_file_locks_nothing() -> None:
    assert checked(LOCKS, Call((), [])).status == "pass"


EVERYDAY = {
    "copies and dates": "import shutil\nopen('a', 'w').write('x')\nshutil.copy2('a', 'b')\nos.chmod('b', 0o600)\nos.utime('b', (1, 1))",
    "a child process": "import subprocess\nassert subprocess.run(['echo', 'x'], capture_output=True).stdout == b'x\\n'",
    "a shell": "assert os.popen('echo x | cat').read() == 'x\\n'",
    "threads": "from concurrent.futures import ThreadPoolExecutor\nassert list(ThreadPoolExecutor(3).map(abs, [-1])) == [1]",
    "processes": "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool: assert pool.map(abs, [-1]) == [1]",
    "asyncio": "import asyncio\nasync def go():\n    await asyncio.sleep(0)\n    made = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)\n    return (await made.communicate(b'x'))[0]\nassert asyncio.run(go()) == b'x'",
    "archives": "import tarfile, zipfile\nopen('a', 'w').write('x')\nzipfile.ZipFile('z', 'w').write('a')\ntarfile.open('t', 'w:gz').add('a')\ntarfile.open('t', 'w').add('a')",
    "a data base": "import sqlite3\nbase = sqlite3.connect('b')\nbase.execute('create table t(x)')\nbase.execute('insert into t values (1)')\nbase.commit()",
    "signals and timers": "import signal, time\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()",
    "file locks": "import fcntl\nfile = open('a', 'w')\nfcntl.flock(file, fcntl.LOCK_EX)\nfcntl.lockf(file, fcntl.LOCK_EX)",
    "mapped files": "import mmap\nopen('a', 'wb').write(b'x' * 5000)\nfile = open('a', 'r+b')\nmade = mmap.mmap(file.fileno(), 0)\nmade[0] = 1\nmade.flush()",
    "the machine": "import platform, resource, time, zoneinfo, uuid\nplatform.platform()\nresource.getrusage(0)\nuuid.uuid4()\nos.sched_getaffinity(0)\ntime.localtime()",
    "limits": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\nresource.prlimit(0, resource.RLIMIT_CORE, (0, 0))",
}


@CONFINED
def test_programs_do_everyday_things() -> None:
    body = "\n".join(
        f"try:\n    {work.replace(chr(10), chr(10) + '    ')}\nexcept BaseException as error:\n    print({name!r}, repr(error))"
        for name, work in EVERYDAY.items()
    )
    verdict = checked(
        f"import os\n{body}",
        Program("", ""),
        limits=SandboxLimits(seconds=20, cpu_seconds=5),
    )
    # Its semaphores need /dev/shm, which is not there.
    assert re.fullmatch(
        r"test 1 of 1: it wrote b.processes \w+\(.*\)\\n.", verdict.detail
    ), verdict


# The filter itself


def decision(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What a filter returns, by the rules of the kernel's own interpreter."""
    steps = [
        struct.unpack_from("=HBBI", program, place)
        for place in range(0, len(program), 8)
    ]
    data = struct.pack(
        "=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments))
    )
    place = held = 0
    while True:
        code, true, false, value = steps[place]
        place += 1
        match code:
            case 0x20:
                (held,) = struct.unpack_from("=I", data, value)
            case 0x54:
                held &= value
            case 0x15:
                place += true if held == value else false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(code)


ALLOWED, PRETENDED, EPERM, ENOSYS = 0x7FFF0000, 0x00050000, 0x00050001, 0x00050026
SIGCHLD, NEW_USER = 17, 0x10000000
ARGUMENTS = [
    ("socketpair", (1, 1 | 0o2004000), ALLOWED),
    ("socketpair", (1, 2), EPERM),
    ("socketpair", (2, 1), EPERM),
    ("sendto", (3, 1, 1, 0x4000, 0, 0), ALLOWED),
    ("sendto", (3, 1, 1, 0, 1 << 40, 0), EPERM),
    ("sendto", (3, 1, 1, 0, 0x7000, 0), EPERM),
    ("recvfrom", (3, 1, 1, 1), EPERM),
    ("clone", (SIGCHLD,), ALLOWED),
    ("clone", (0x3D0F00,), ALLOWED),
    *[
        ("clone", (SIGCHLD | flag,), EPERM)
        for flag in (NEW_USER, 0x20000, 0x2000000, 0x8000000, 0x20000000, 0x40000000)
    ],
    ("mmap", (0, 4096, 3, 0x22), ALLOWED),
    ("mmap", (0, 4096, 3, 0x01, 3), ALLOWED),
    ("mmap", (0, 4096, 3, 0x21), EPERM),
    ("mmap", (0, 4096, 3, 0x23), EPERM),
    ("madvise", (0, 4096, 21), EPERM),
    ("fcntl", (3, 1024, 1), EPERM),
    *[("fcntl", (3, command), PRETENDED) for command in (6, 7, 37, 38)],
    *[("fcntl", (3, command), ALLOWED) for command in (5, 36)],
    *[
        ("flock", (3, operation | waits), PRETENDED)
        for operation in (1, 2, 8)
        for waits in (0, 4)
    ],
    ("flock", (3, 32), EPERM),
    ("fcntl", (3, 1030, 3), ALLOWED),
    ("ioctl", (0, 0x5412), EPERM),
    ("ioctl", (0, (1 << 32) | 0x5401), ALLOWED),
    ("prctl", (22, 2), EPERM),
    ("prlimit64", (1, 7), EPERM),
    ("prlimit64", (0, 7), ALLOWED),
]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_goes_by_processor_number_and_arguments(machine: str) -> None:
    program = seccomp_filter(machine, own_files_only=False)
    mine = syscalls._ARCHITECTURES[machine]
    listed = numbers(machine, syscalls._BY_ARGUMENTS)
    for name, arguments, wanted in ARGUMENTS:
        assert decision(program, mine, listed[name], *arguments) == wanted, (
            name,
            arguments,
        )
    for architecture in {0, 0x40000003, *syscalls._ARCHITECTURES.values()} - {mine}:
        assert decision(program, architecture, 0) == ENOSYS
    files = numbers(machine, syscalls._OF_OWN_FILES).values()
    for number in files:
        assert decision(program, mine, number) == ENOSYS
        assert (
            decision(seccomp_filter(machine, own_files_only=True), mine, number)
            == ALLOWED
        )


def test_an_unknown_processor_has_no_filter() -> None:
    assert seccomp_filter("vax", own_files_only=True) == b""


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
NAMES_OF_OLD = {"newfstatat": "fstatat"}


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    text = header.read_text()
    found = {
        name: int(number)
        for name, number in re.findall(r"define __NR(?:3264)?_(\w+)\s+(\d+)", text)
    }
    for table in (syscalls._ALLOWED, syscalls._OF_OWN_FILES, syscalls._BY_ARGUMENTS):
        for name, number in numbers(machine, table).items():
            assert found.get(name, found.get(NAMES_OF_OLD.get(name, ""))) == number, (
                name
            )
