"""The layers of protection that this machine has, each found by trying it, and how to start a process within them."""

import functools
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reasoner.errors import require
from reasoner.sandbox.syscalls import seccomp_filter

Wrapper = Literal["bubblewrap", "namespaces", "none"]

NOBODY = 65534
"""The user and group that root's sandboxes run as: rlimits bind it, and it owns nothing."""
PROBE_SECONDS = 20
_TOOLS: dict[Wrapper, str] = {"namespaces": "unshare", "bubblewrap": "bwrap"}
"""What makes each wrapper; the first that works is taken."""
_CHILD = Path(__file__).with_name("child.py")
_READABLE = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/dev/random")
"""What the sandbox has of the system's files, besides the interpreter; all else is not there, or refused."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use; `memory_mib` holds for each process, and for all together where memory is watched."""

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
        """The limits that the kernel keeps for each process, or for the user."""
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
    """A Python that may be able to run inside, and the directory that it needs."""

    path: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Layers:
    """How processes are confined here: `names` says by what, `missing` what the minimum lacks, empty for nothing."""

    wrapper: Wrapper
    private_proc: bool
    python: Interpreter
    names: tuple[str, ...] = ()
    missing: str = ""

    @property
    def readable(self) -> tuple[str, ...]:
        """The files and directories outside of the scratch directory that can be read, and nothing but read."""
        return tuple(dict.fromkeys((*_READABLE, os.path.realpath(self.python.prefix), self.python.prefix)))

    def named(self, inner: Sequence[str]) -> tuple[str, ...]:
        """What confines a run: what is done from outside, and `inner`, as its child said."""
        user = (f"user-{NOBODY}",) if os.geteuid() == 0 else ()
        wrapper = () if self.wrapper == "none" else (self.wrapper,)
        return ("session", "rlimits", *user, *wrapper, *inner)

    def command(self, program: Sequence[str], *, work: str, limits: Limits, status: int, life: int) -> list[str]:
        """The command that runs a Python program (interpreter's arguments) inside; the child's own part included."""
        wrapped = self.wrapper != "none"
        spec = {
            "argv": [self.python.path, *program],
            "work": work,
            "readable": self.readable,
            # What a root of its own is made with. The numbers are of the namespace, where this user is the only one.
            "scratch": f"size={limits.disk_mib}m,nr_inodes={limits.files},mode=700"
            if self.wrapper == "namespaces"
            else "",
            "proc": self.private_proc,
            "limits": limits.rlimits,
            "watch": limits.memory_mib if self.private_proc else 0,
            "files": limits.files if wrapped else 0,
            "filter": seccomp_filter(platform.machine(), own_files_only=wrapped).hex(),
            "status": status,
            "life": life,
        }
        child = [self.python.path, "-I", "-S", "-c", _child_source(), json.dumps(spec)]
        return [*self._wrapping(work, limits), *child]

    def _wrapping(self, work: str, limits: Limits) -> list[str]:
        if self.wrapper == "none":
            return []
        # As this process finds it: the sandbox's own PATH is another.
        tool = shutil.which(_TOOLS[self.wrapper]) or _TOOLS[self.wrapper]
        if self.wrapper == "namespaces":
            # Capabilities in the new namespace are for its root alone; the child drops them.
            spaces = ["--user", "--map-current-user", "--keep-caps", "--net", "--ipc", "--pid", "--mount"]
            return [tool, *spaces, "--fork", "--kill-child", "--"]
        binds = (("--dev-bind-try" if path.startswith("/dev/") else "--ro-bind-try", path) for path in self.readable)
        return [
            *(tool, "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"),
            *itertools.chain.from_iterable((option, path, path) for option, path in binds),
            *(("--proc", "/proc") if self.private_proc else ()),
            *("--size", str(limits.disk_mib * 2**20), "--tmpfs", work, "--remount-ro", "/", "--"),
        ]


@functools.cache
def _child_source() -> str:
    return _CHILD.read_text("utf-8")


def environment(work: str) -> dict[str, str]:
    """All that the sandbox's processes find in their environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": work,
        "TMPDIR": work,
        "LANG": "C.UTF-8",
        # The order of sets is the same in every run, so that a verdict is.
        "PYTHONHASHSEED": "0",
        # Threads count as processes, and their memory arenas as memory.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def other_user() -> Mapping[str, Any]:
    """Options of a subprocess: root becomes nobody, as no limit on processes holds for root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def scratch() -> str:
    """A fresh directory that belongs to the sandbox's user."""
    # The real path, as it is looked up again where links of the file system may be missing.
    work = os.path.realpath(tempfile.mkdtemp(prefix="reasoner-sandbox-"))
    if os.geteuid() == 0:
        os.chown(work, NOBODY, NOBODY)
    return work


def _interpreters() -> Iterator[Interpreter]:
    """This one, then the system's: root's own may lie where nobody else may look."""
    own = getattr(sys, "_base_executable", sys.executable)
    yield Interpreter(os.path.realpath(own), sys.base_prefix)
    for name in (f"python3.{sys.version_info.minor}", "python3"):
        if os.access(path := f"/usr/bin/{name}", os.X_OK):
            yield Interpreter(path, "/usr")


@functools.cache
def detect() -> Layers:
    """The best protection this machine has, by trying each arrangement; looked for once in a process.

    It takes tenths of a second and blocks meanwhile.
    """
    missing: list[str] = []
    for wrapper in _TOOLS:
        layers, why = _working(wrapper)
        if layers:
            return layers
        missing.append(f"{wrapper}: {why}")
    layers, why = _working("none")
    missing += [f"python: {why}"] if why else []
    nothing = Layers("none", private_proc=False, python=next(_interpreters()))
    return replace(layers or nothing, missing="; ".join(missing))


def _working(wrapper: Wrapper) -> tuple[Layers | None, str]:
    """The best layers with this wrapper, or none and what went wrong in the attempt that asked for the least."""
    if (tool := _TOOLS.get(wrapper)) and not shutil.which(tool):
        return None, f"{tool} is not installed"
    why = ""
    for private_proc, python in itertools.product((True, False) if tool else (False,), _interpreters()):
        layers = Layers(wrapper, private_proc, python)
        names, why = _names(layers)
        if names:
            return replace(layers, names=names), ""
    return None, why


def _names(layers: Layers) -> tuple[tuple[str, ...], str]:
    """The names of the layers that a trial run had, or none and what went wrong."""
    work = scratch()
    reading, status = os.pipe()
    life, hold = os.pipe()
    program = ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        done = subprocess.run(  # noqa: S603
            layers.command(program, work=work, limits=Limits(), status=status, life=life),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(status, life),
            env=environment(work),
            cwd="/",
            start_new_session=True,
            timeout=PROBE_SECONDS,
            check=False,
            **other_user(),
        )
        os.close(status)
        status = -1
        lines = os.read(reading, 4096).decode(errors="replace").splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        return (), str(error)
    finally:
        for descriptor in {reading, status, life, hold} - {-1}:
            os.close(descriptor)
        with suppress(OSError):
            shutil.rmtree(work)
    if len(lines) == 2 and lines[0].startswith("ready") and lines[1] == "exit 0":
        return layers.named(lines[0].split()[1:]), ""
    return (), (lines or done.stderr.decode(errors="replace").splitlines() or ["it said nothing"])[-1]
