"""The first program inside the sandbox: it forks, confines the child, which executes the target, and supervises it.

The interpreter gets it as text (`python -c`), because the sandbox's user may be unable to read this file; so it imports
the standard library only. The supervisor is PID 1 of its namespace: nothing inside can signal it, and when it ends the
kernel ends all processes that remain. It ends with the target, when the memory in use exceeds the limit, or when the
caller closes its end of the pipe `life`.

It writes lines to `status`, which the target cannot access: `ready LAYER...` or `failed WHY`, then `exit CODE`,
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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 2, 4, 8, 0x1000, 0x4000
MNT_DETACH, MOUNT_SETATTR, AT_RECURSIVE, READ_ONLY_NO_SUID = 2, 442, 0x8000, 3
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
CAPABILITY_VERSION = 0x20080522
KEYCTL = {"x86_64": 250}.get(platform.machine(), 219)
JOIN_SESSION_KEYRING = 1

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = (
    1,
    2,
    4,
    8,
    1 << 14,
    1 << 15,
)
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

SOCKET = 212_992
"""Maximum bytes that wait in a Unix socket, by the kernel's default."""


def _checked(result: int, action: str) -> int:
    if result < 0:
        raise OSError(
            ctypes.get_errno(), f"{action}: {os.strerror(ctypes.get_errno())}"
        )
    return result


def _prctl(option: int, a: int, b: object = 0) -> int:
    return int(
        LIBC.prctl(option, ctypes.c_ulong(a), b, ctypes.c_ulong(0), ctypes.c_ulong(0))
    )


def _mount(
    source: str, target: str, kind: str = "none", flags: int = 0, options: str = ""
) -> None:
    arguments = (
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    _checked(LIBC.mount(*arguments), f"mount {target}")


def private_root(work: str, spec: Mapping[str, Any]) -> None:
    """Replace the file system by one that holds the readable paths, read-only, and an empty `work`, in memory."""
    root = work
    _mount(
        "root", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=512,mode=755"
    )
    for path in spec["readable"]:
        _show(path, root + path)
    Path(root + work).mkdir(parents=True, exist_ok=True)
    if spec["proc"]:
        Path(root, "proc").mkdir()
        _mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    attributes = struct.pack("=QQQQ", READ_ONLY_NO_SUID, 0, 0, 0)
    _checked(
        LIBC.syscall(
            MOUNT_SETATTR, -1, os.fsencode(root), AT_RECURSIVE, attributes, 32
        ),
        "mount_setattr",
    )
    _mount("scratch", root + work, "tmpfs", MS_NOSUID | MS_NODEV, spec["scratch"])
    os.chdir(root)
    # Mount the new root over the old one, then unmount the old one.
    _checked(LIBC.pivot_root(b".", b"."), "pivot_root")
    _checked(LIBC.umount2(b".", MNT_DETACH), "umount")


def _show(path: str, target: str) -> None:
    """Make `path` visible at `target`; links stay links, and missing files are skipped."""
    if Path(target).exists() or not Path(path).exists():
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if Path(path).is_symlink():
        Path(target).symlink_to(Path(path).readlink())
        return
    if Path(path).is_dir():
        Path(target).mkdir()
    else:
        Path(target).touch()
    _mount(path, target, flags=MS_BIND | MS_REC)


def landlock(work: str, readable: Sequence[str]) -> int:
    """Confine this process to reading `readable` and writing `work`; the ABI in use, 0 without Landlock."""
    abi = max(0, LIBC.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1))
    if not abi:
        return 0
    known = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    rights = struct.pack("=QQQ", known, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = _checked(
        LIBC.syscall(LANDLOCK_CREATE_RULESET, rights, ctypes.c_size_t(size), 0),
        "landlock",
    )
    read = EXECUTE | READ_FILE | READ_DIR
    for path, right in {
        **dict.fromkeys(readable, read),
        "/dev/null": OF_FILES,
        work: known,
    }.items():
        with suppress(FileNotFoundError, PermissionError):
            handle = os.open(path, os.O_PATH)
            mask = known if Path(path).is_dir() else OF_FILES
            rule = struct.pack("=Qi", right & known & mask, handle)
            _checked(
                LIBC.syscall(LANDLOCK_ADD_RULE, rules, 1, rule, 0), f"landlock {path}"
            )
            os.close(handle)
    _checked(LIBC.syscall(LANDLOCK_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)
    return int(abi)


def seccomp(steps: bytes) -> bool:
    """Install a filter of system calls; False if it is empty or the kernel refuses it."""
    if not steps:
        return False
    code = ctypes.create_string_buffer(steps)
    program = ctypes.create_string_buffer(
        struct.pack("HP", len(steps) // 8, ctypes.addressof(code))
    )
    return _prctl(PR_SET_SECCOMP, 2, ctypes.byref(program)) == 0


def become(spec: Mapping[str, Any]) -> None:
    """Drop all privileges, report the layers, and execute the target."""
    status = spec["status"]
    os.set_inheritable(status, False)
    os.set_inheritable(spec["life"], False)
    no_capabilities = bytes(24)
    _checked(
        LIBC.capset(struct.pack("=Ii", CAPABILITY_VERSION, 0), no_capabilities),
        "capset",
    )
    for name, value in spec["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    _checked(_prctl(PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")
    # Otherwise it would share its caller's session keyring. The filter then refuses all calls about keys.
    LIBC.syscall(KEYCTL, JOIN_SESSION_KEYRING, None)
    layers = (
        [f"landlock-{abi}"] if (abi := landlock(spec["work"], spec["readable"])) else []
    )
    layers += ["seccomp"] if seccomp(bytes.fromhex(spec["filter"])) else []
    layers += ["memory-watch"] if spec["watch"] else []
    layers += [f"python-{platform.python_version()}"]
    os.write(status, f"ready {' '.join(layers)}\n".encode())
    os.execv(spec["argv"][0], spec["argv"])  # noqa: S606


def supervise(target: int, handle: int, spec: Mapping[str, Any]) -> str:
    """Wait until the target, which `handle` refers to, ends or must be ended; the line that says why."""
    _prctl(PR_SET_DUMPABLE, 0)
    poll = select.poll()
    poll.register(spec["life"], select.POLLIN)
    poll.register(handle, select.POLLIN)
    while True:
        # Milliseconds between two checks of the memory in use
        events = {fd for fd, _ in poll.poll(50)}
        with suppress(ChildProcessError):
            while True:
                pid, status, used = os.wait4(-1, os.WNOHANG)
                if pid == target:
                    return _ending(
                        status,
                        used.ru_utime + used.ru_stime,
                        spec["limits"]["RLIMIT_CPU"],
                    )
                if pid == 0:
                    break
        if spec["life"] in events:
            return "ended"
        if spec["watch"] and memory_exceeds(spec["watch"] * 2**20):
            return "memory"


def _ending(status: int, cpu: float, limit: float) -> str:
    if os.WIFEXITED(status):
        return f"exit {os.WEXITSTATUS(status)}"
    # The kernel enforces the limit by a coarser clock than the one it reports.
    if os.WTERMSIG(status) == signal.SIGKILL and cpu > limit / 2:
        return "cpu"
    return f"signal {os.WTERMSIG(status)}"


def memory_exceeds(limit: int) -> bool:
    """Whether all other processes together hold more than `limit` bytes; /proc shows the namespace's processes."""
    others = [
        process
        for process in Path("/proc").glob("[0-9]*")
        if process.name != str(os.getpid())
    ]
    limit -= SOCKET * _sockets()
    if sum(map(_resident, others)) <= limit:
        return False
    # Shared memory was counted once per process. The exact sum takes longer.
    return sum(map(_proportional, others)) > limit


def _sockets() -> int:
    """The sockets in this namespace; each may hold SOCKET bytes that count for no process."""
    try:
        return Path("/proc/self/net/unix").read_bytes().count(b"\n") - 1
    except OSError:
        return 0


def _resident(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _proportional(process: Path) -> int:
    try:
        match = re.search(
            r"^Pss:\s+(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE
        )
    except ProcessLookupError:
        return 0
    except OSError:
        return _resident(process)
    return int(match[1]) * 1024 if match else 0


def main() -> None:
    """Run the program that the first argument, a JSON object, describes."""
    spec = json.loads(sys.argv[1])
    try:
        if spec["scratch"]:
            private_root(spec["work"], spec)
        os.chdir(spec["work"])
        target = os.fork()
        if target == 0:
            become(spec)
    except BaseException as error:
        os.write(spec["status"], f"failed {type(error).__name__}: {error}\n".encode())
        os._exit(1)
    # This process must not keep the target's pipes open.
    low, high = sorted((spec["status"], spec["life"]))
    for begin, end in ((0, low), (low + 1, high), (high + 1, 2**20)):
        os.closerange(begin, end)
    handle = os.pidfd_open(target)
    os.write(spec["status"], f"{supervise(target, handle, spec)}\n".encode())
    if os.getpid() != 1:
        # Without a PID namespace: the target must be gone when the caller sees this process gone.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.waitpid(target, 0)
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
