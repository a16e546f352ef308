"""The layers of protection that this machine has, detected by trial runs, and the command to run a process in them."""

import functools
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.errors import require
from reasoner.sandbox.syscalls import seccomp_filter

NOBODY = 65534
"""The user and group of sandboxes that root starts: rlimits bind this user, and it owns nothing."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """The limits of a run; `memory_mib` applies to each process, and to all together if memory is watched."""

    seconds: float = 10.0
    cpu_seconds: int = 5
    memory_mib: int = 1024
    file_mib: int = 1
    disk_mib: int = 16
    files: int = 1024
    output_kib: int = 64
    processes: int = 40
    open_files: int = 64

    def __post_init__(self) -> None:
        for name in self.__slots__:
            require(getattr(self, name), name, above=0)

    @property
    def rlimits(self) -> dict[str, int]:
        """The limits that the kernel enforces for each process, or for the user."""
        return {
            "RLIMIT_CORE": 0,
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory_mib * 2**20,
            "RLIMIT_FSIZE": self.file_mib * 2**20,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_SIGPENDING": 1024,
            "RLIMIT_MSGQUEUE": 0,
        }


class Interpreter(NamedTuple):
    """A Python that may run inside, and the directory that it needs."""

    path: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Layers:
    """How processes are confined here: by the layers `names`; `missing` says what the minimum lacks, if anything."""

    namespaces: bool
    private_proc: bool
    python: Interpreter
    names: tuple[str, ...] = ()
    missing: str = ""

    @property
    def readable(self) -> tuple[str, ...]:
        """The files and directories that can be read, but not written, outside the scratch directory."""
        return tuple(
            dict.fromkeys(
                # The system files that are visible inside, besides the interpreter; others are
                # missing or refused
                (
                    "/usr",
                    "/lib",
                    "/lib64",
                    "/bin",
                    "/etc/ld.so.cache",
                    "/dev/null",
                    "/dev/urandom",
                    "/dev/random",
                    os.path.realpath(self.python.prefix),
                    self.python.prefix,
                )
            )
        )

    def named(self, inner: Sequence[str]) -> tuple[str, ...]:
        """The layers of a run: those set up from outside, and those that its child reported."""
        user = (f"user-{NOBODY}",) if os.geteuid() == 0 else ()
        return (
            "session",
            "rlimits",
            *user,
            *(("namespaces",) if self.namespaces else ()),
            *inner,
        )

    def command(
        self,
        program: Sequence[str],
        *,
        work: str,
        limits: SandboxLimits,
        status: int,
        life: int,
    ) -> list[str]:
        """The command that runs Python with these arguments inside, through `child`."""
        spec = {
            "argv": [self.python.path, *program],
            "work": work,
            "readable": self.readable,
            # Options of the scratch directory's file system, which has a separate root.
            "scratch": f"size={limits.disk_mib}m,nr_inodes={limits.files},mode=700"
            if self.namespaces
            else "",
            "proc": self.private_proc,
            "limits": limits.rlimits,
            "watch": limits.memory_mib if self.private_proc else 0,
            "filter": seccomp_filter(
                platform.machine(), own_files_only=self.namespaces
            ).hex(),
            "status": status,
            "life": life,
        }
        child = [
            self.python.path,
            "-I",
            "-S",
            "-c",
            source("child.py"),
            json.dumps(spec),
        ]
        if not self.namespaces:
            return child
        # Looked up here, because the sandbox has another PATH. Capabilities hold in the new namespace only; the child
        # drops them.
        spaces = [
            "--user",
            "--map-current-user",
            "--keep-caps",
            "--net",
            "--ipc",
            "--pid",
            "--mount",
        ]
        return [
            shutil.which("unshare") or "unshare",
            *spaces,
            "--fork",
            "--kill-child",
            "--",
            *child,
        ]


@functools.cache
def source(name: str) -> str:
    """The text of a module of this package, which runs inside."""
    return Path(__file__).with_name(name).read_text("utf-8")


def environment(work: str) -> dict[str, str]:
    """The whole environment of the sandbox's processes."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": work,
        "TMPDIR": work,
        "LANG": "C.UTF-8",
        # With the same order of sets in every run, verdicts are the same.
        "PYTHONHASHSEED": "0",
        # Threads count as processes, and their memory arenas as memory.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def spawn_options(work: str, *descriptors: int) -> dict[str, Any]:
    """Options of a subprocess that inherits these descriptors; root becomes nobody, whom RLIMIT_NPROC binds."""
    user = (
        {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        if os.geteuid() == 0
        else {}
    )
    return {
        "pass_fds": descriptors,
        "env": environment(work),
        "cwd": "/",
        "start_new_session": True,
        **user,
    }


def pipe(stack: ExitStack | AsyncExitStack) -> tuple[FileIO, FileIO]:
    """Both ends of a new pipe, reading end first; the stack closes them."""
    reading, writing = os.pipe()
    return stack.enter_context(FileIO(reading)), stack.enter_context(
        FileIO(writing, "w")
    )


def scratch() -> str:
    """A fresh directory that belongs to the sandbox's user."""
    # The real path: links in it may be missing inside.
    work = os.path.realpath(tempfile.mkdtemp(prefix="reasoner-sandbox-"))
    if os.geteuid() == 0:
        os.chown(work, NOBODY, NOBODY)
    return work


def _interpreters() -> Iterator[Interpreter]:
    """This one, then the system's: other users may be unable to read root's own."""
    yield Interpreter(
        os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
        sys.base_prefix,
    )
    for name in (f"python3.{sys.version_info.minor}", "python3"):
        if os.access(path := f"/usr/bin/{name}", os.X_OK):
            yield Interpreter(path, "/usr")


@functools.cache
def detect() -> Layers:
    """The best protection this machine has, by trial runs; cached for the process.

    It blocks for some tenths of a second.
    """
    missing = ""
    for namespaces in (True, False):
        if namespaces and not shutil.which("unshare"):
            missing = "namespaces: unshare is not installed"
            continue
        why = ""
        for private_proc, python in itertools.product(
            (True, False) if namespaces else (False,), _interpreters()
        ):
            layers = Layers(namespaces, private_proc, python, missing=missing)
            names, why = _names(layers)
            if names:
                return replace(layers, names=names)
        missing = f"namespaces: {why}" if namespaces else f"{missing}; python: {why}"
    return Layers(
        namespaces=False,
        private_proc=False,
        python=next(_interpreters()),
        missing=missing,
    )


def _names(layers: Layers) -> tuple[tuple[str, ...], str]:
    """The names of the layers in a trial run, or none and the problem."""
    program = ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    with ExitStack() as stack:
        work = scratch()
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        reading, status = pipe(stack)
        life, _hold = pipe(stack)
        try:
            done = subprocess.run(  # noqa: S603
                layers.command(
                    program,
                    work=work,
                    limits=SandboxLimits(),
                    status=status.fileno(),
                    life=life.fileno(),
                ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20,
                check=False,
                **spawn_options(work, status.fileno(), life.fileno()),
            )
        except (OSError, subprocess.SubprocessError) as error:
            return (), str(error)
        status.close()
        lines = reading.read(4096).decode(errors="replace").splitlines()
    if len(lines) == 2 and lines[0].startswith("ready") and lines[1] == "exit 0":
        return layers.named(lines[0].split()[1:]), ""
    return (), (
        lines
        or done.stderr.decode(errors="replace").splitlines()
        or ["it printed nothing"]
    )[-1]
