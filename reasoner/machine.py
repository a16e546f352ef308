"""What this process runs on: cores, memory, accelerators, and the versions of what is installed."""

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Memory of the machine in GiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def gpus() -> tuple[str, ...] | None:
    """NVIDIA's GPUs, a line each as the driver names them; None where no driver answers."""
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S607 wherever the driver is
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(line for line in told.splitlines() if line.strip())


def installed(package: str) -> str | None:
    """The version of an installed distribution; None where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
