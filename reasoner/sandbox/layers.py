"""The layers of protection that this machine has, each found by trying it, and how to start a process within them."""

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reasoner.errors import UsageError

Wrapper = Literal["bubblewrap", "namespaces", "none"]

NOBODY = 65534
"""The user and group that root's sandboxes run as: rlimits bind it, and it owns nothing."""
PROBE_SECONDS = 20
_TOOLS: dict[Wrapper, str] = {"bubblewrap": "bwrap", "namespaces": "unshare"}
"""What makes each wrapper; the first that works is taken."""
_CHILD = Path(__file__).with_name("child.py")


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
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)} is out of range: {name} is above 0")

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
    def confines_files(self) -> bool:
        """Whether files outside of the scratch directory are out of reach."""
        return self.wrapper == "bubblewrap" or any(name.startswith("landlock") for name in self.names)

    def named(self, inner: Sequence[str]) -> tuple[str, ...]:
        """What confines a run: what is done from outside, and `inner`, as its child said."""
        user = (f"user-{NOBODY}",) if os.geteuid() == 0 else ()
        wrapper = () if self.wrapper == "none" else (self.wrapper,)
        return ("session", "rlimits", *user, *wrapper, *inner)

    def command(self, program: Sequence[str], *, work: str, limits: Limits, status: int, life: int) -> list[str]:
        """The command that runs a Python program (interpreter's arguments) inside; the child's own part included."""
        spec = {
            "argv": [self.python.path, *program],
            "work": work,
            # The numbers are of the namespace, where this user is the only one there is.
            "mount": f"size={limits.disk_mib}m,nr_inodes={limits.files},mode=700"
            if self.wrapper == "namespaces"
            else "",
            "limits": limits.rlimits,
            "watch": limits.memory_mib if self.private_proc else 0,
            "status": status,
            "life": life,
        }
        child = [self.python.path, "-I", "-S", "-c", _child_source(), json.dumps(spec)]
        return [*self._wrapping(work, limits), *child]

    def _wrapping(self, work: str, limits: Limits) -> list[str]:
        if self.wrapper == "namespaces":
            # Capabilities in the new namespace are for the scratch mount alone; the child drops them.
            proc = ["--mount-proc"] if self.private_proc else []
            spaces = ["--user", "--map-current-user", "--keep-caps", "--net", "--ipc", "--pid", "--mount"]
            return ["unshare", *spaces, *proc, "--fork", "--kill-child", "--"]
        if self.wrapper == "bubblewrap":
            places = dict.fromkeys(("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", self.python.prefix))
            return [
                *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--dev", "/dev"),
                *itertools.chain.from_iterable(("--ro-bind-try", place, place) for place in places),
                *(("--proc", "/proc") if self.private_proc else ()),
                *(
                    "--size",
                    str(limits.disk_mib * 2**20),
                    "--tmpfs",
                    work,
                    "--remount-ro",
                    "/dev",
                    "--remount-ro",
                    "/",
                    "--",
                ),
            ]
        return []


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
    found: Layers | None = None
    for wrapper in _TOOLS:
        layers, why = _working(wrapper)
        if layers and layers.confines_files:
            return layers
        missing.append(f"{wrapper}: {why or 'this kernel has no Landlock'}")
        found = found or layers
    if not found:
        found, why = _working("none")
        missing += [f"python: {why}"] if why else []
    nothing = Layers("none", private_proc=False, python=next(_interpreters()))
    return replace(found or nothing, missing="; ".join(missing))


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
    said, status = os.pipe()
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
        lines = os.read(said, 4096).decode(errors="replace").splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        return (), str(error)
    finally:
        for descriptor in {said, status, life, hold} - {-1}:
            os.close(descriptor)
        with suppress(OSError):
            shutil.rmtree(work)
    if len(lines) == 2 and lines[0].startswith("ready") and lines[1] == "exit 0":
        return layers.named(lines[0].split()[1:]), ""
    return (), (lines or done.stderr.decode(errors="replace").splitlines() or ["it said nothing"])[-1]
