"""What this process runs on: cores, memory, accelerators, and the versions of what is installed."""

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _cpu_facts() -> dict[str, str]:
    """What Linux says of the first processor, by its own names; empty where it says nothing."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def cpu_name() -> str:
    """The processor's name, as Linux gives it."""
    return _cpu_facts().get("model name") or platform.machine()


def cpu_flags() -> frozenset[str]:
    """The instruction sets that the processor offers and the kernel allows, by Linux's names, such as "avx2"."""
    facts = _cpu_facts()
    return frozenset((facts.get("flags") or facts.get("Features") or "").split())


def memory_gib() -> float:
    """Memory of the machine in GiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def gpus() -> tuple[str, ...] | None:
    """NVIDIA's GPUs, a line each as the driver names them; None where no driver answers."""
    try:
        output = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S607 wherever the driver is
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(line for line in output.splitlines() if line.strip())


def installed(package: str) -> str | None:
    """The version of an installed distribution; None where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
