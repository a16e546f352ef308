"""What runs first inside the sandbox: confines a child, becomes the target in it, and supervises it from outside.

It is handed to the interpreter as text (`python -c`), as the sandbox's user may be unable to read this file; so it
imports the standard library only. The supervisor is PID 1 of its namespace: nothing inside can signal it, and the
kernel ends whatever is left when it ends. It ends when the target does, when the memory in use exceeds the limit, or
when `life`, a pipe whose other end the caller holds, is closed.

It writes lines to `status`, which the target doesn't have: `ready LAYER...` or `failed WHY`, then `exit CODE`,
`signal NUMBER`, `cpu` or `memory`.
"""

import ctypes
import json
import os
import platform
import re
import resource
import select
import signal
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)

MS_NOSUID, MS_NODEV = 2, 4
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 4, 22, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1, 2, 4, 8, 1 << 14, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READABLE = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/urandom", "/dev/random", "/dev/zero")

# Sockets, which also reach Unix sockets by path; and memory that no process's own figures show.
DENIED = {
    "x86_64": (0xC000003E, {"socket": 41, "shmget": 29, "memfd_create": 319, "io_uring_setup": 425}),
    "aarch64": (0xC00000B7, {"socket": 198, "shmget": 194, "memfd_create": 279, "io_uring_setup": 425}),
}
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001

LOOK_MS = 50
"""Milliseconds between two looks at the memory in use."""


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _prctl(option: int, a: int, b: object = 0) -> int:
    return int(LIBC.prctl(option, ctypes.c_ulong(a), b, ctypes.c_ulong(0), ctypes.c_ulong(0)))


def mount_scratch(work: str, options: str) -> None:
    """A file system in memory over the scratch directory: bounded, and gone with the namespace."""
    flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV)
    _checked(LIBC.mount(b"scratch", os.fsencode(work), b"tmpfs", flags, options.encode()), "mount")


def landlock(work: str) -> int:
    """Confine this process to reading the system and writing `work`; the ABI in use, 0 where there is none."""
    abi = max(0, LIBC.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1))
    if not abi:
        return 0
    known = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    rights = struct.pack("=QQQ", known, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = _checked(LIBC.syscall(LANDLOCK_CREATE_RULESET, rights, ctypes.c_size_t(size), 0), "landlock")
    read = EXECUTE | READ_FILE | READ_DIR
    allowed = dict.fromkeys((*READABLE, sys.base_prefix, sys.base_exec_prefix), read)
    for path, right in {**allowed, "/dev/null": OF_FILES, work: known}.items():
        with suppress(FileNotFoundError, PermissionError):
            place = os.open(path, os.O_PATH)
            mask = known if Path(path).is_dir() else OF_FILES
            rule = struct.pack("=Qi", right & known & mask, place)
            _checked(LIBC.syscall(LANDLOCK_ADD_RULE, rules, 1, rule, 0), f"landlock {path}")
            os.close(place)
    _checked(LIBC.syscall(LANDLOCK_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)
    return int(abi)


def seccomp() -> bool:
    """Refuse the system calls in DENIED from now on; False where this processor's numbers aren't known."""
    if platform.machine() not in DENIED or struct.calcsize("P") != 8:
        return False
    arch, calls = DENIED[platform.machine()]
    # The second number is of the x32 calls, which the kernel takes under x86-64's name.
    tests = [(JUMP_IF_AT_LEAST, 0x40000000), *((JUMP_IF_EQUAL, number) for number in calls.values())]
    steps = [(LOAD, 0, 0, 4), (JUMP_IF_EQUAL, 0, len(tests) + 2, arch), (LOAD, 0, 0, 0)]
    steps += [(kind, len(tests) - place, 0, number) for place, (kind, number) in enumerate(tests)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    return _prctl(PR_SET_SECCOMP, 2, ctypes.byref(program)) == 0


def become(spec: Mapping[str, Any]) -> None:
    """Give up everything, tell the caller, and turn into the target."""
    status = spec["status"]
    os.set_inheritable(status, False)
    os.set_inheritable(spec["life"], False)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for name, value in spec["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    _checked(_prctl(PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")
    layers = [f"landlock-{abi}"] if (abi := landlock(spec["work"])) else []
    layers += ["seccomp"] if seccomp() else []
    layers += ["memory-watch"] if spec["watch"] else []
    layers += [f"python-{platform.python_version()}"]
    os.write(status, f"ready {' '.join(layers)}\n".encode())
    os.execv(spec["argv"][0], spec["argv"])  # noqa: S606


def supervise(target: int, spec: Mapping[str, Any]) -> str:
    """Wait for the end of the target, or for a reason to end it; the line that says which it was."""
    _prctl(PR_SET_DUMPABLE, 0)
    poll = select.poll()
    poll.register(spec["life"], select.POLLIN)
    poll.register(os.pidfd_open(target), select.POLLIN)
    while True:
        events = {fd for fd, _ in poll.poll(LOOK_MS)}
        with suppress(ChildProcessError):
            while True:
                pid, status, used = os.wait4(-1, os.WNOHANG)
                if pid == target:
                    return _ending(status, used.ru_utime + used.ru_stime, spec["limits"]["RLIMIT_CPU"])
                if pid == 0:
                    break
        if spec["life"] in events:
            return "ended"
        if spec["watch"] and memory_exceeds(spec["watch"] * 2**20):
            return "memory"


def _ending(status: int, cpu: float, limit: float) -> str:
    if os.WIFEXITED(status):
        return f"exit {os.WEXITSTATUS(status)}"
    # The kernel enforces the limit by another, coarser clock than the one it reports.
    if os.WTERMSIG(status) == signal.SIGKILL and cpu > limit / 2:
        return "cpu"
    return f"signal {os.WTERMSIG(status)}"


def memory_exceeds(limit: int) -> bool:
    """Whether all processes but this one hold more than `limit` bytes; /proc is the namespace's own."""
    others = [place for place in Path("/proc").glob("[0-9]*") if place.name != str(os.getpid())]
    if sum(map(_resident, others)) <= limit:
        return False
    # What processes share was counted once for each of them: now the exact figure, which takes longer.
    return sum(map(_proportional, others)) > limit


def _resident(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _proportional(process: Path) -> int:
    try:
        found = re.search(r"^Pss:\s+(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE)
    except ProcessLookupError:
        return 0
    except OSError:
        return _resident(process)
    return int(found[1]) * 1024 if found else 0


def main() -> None:
    """Run what the first argument, a JSON object, describes."""
    spec = json.loads(sys.argv[1])
    try:
        if spec["mount"]:
            mount_scratch(spec["work"], spec["mount"])
        os.chdir(spec["work"])
        target = os.fork()
        if target == 0:
            become(spec)
    except BaseException as error:
        os.write(spec["status"], f"failed {type(error).__name__}: {error}\n".encode())
        os._exit(1)
    # Pipes that the target was given must not outlive it here.
    low, high = sorted((spec["status"], spec["life"]))
    for begin, end in ((0, low), (low + 1, high), (high + 1, 2**20)):
        os.closerange(begin, end)
    os.write(spec["status"], f"{supervise(target, spec)}\n".encode())
    if os.getpid() != 1:
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
