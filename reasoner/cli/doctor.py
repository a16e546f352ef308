"""`reasoner doctor`: what is installed, what it runs on, and how much fits."""

import json
import platform
import sys
from typing import TYPE_CHECKING, Any

import click

from reasoner.cli.exits import ANSWERED, ENGINE, guarded

if TYPE_CHECKING:
    from reasoner.cli.terminal import Terminal
    from reasoner.models.card import ModelCard

LENGTHS = (512, 2048, 8192)
"""Sequence lengths, in tokens, for which the fitting number is told."""


@click.command("doctor")
@click.option(
    "-m", "--model", default="embedded", show_default=True, metavar="PATH_OR_ID", help="The model to look at."
)
@click.option("--json", "as_json", is_flag=True, help="Give the findings as JSON.")
@guarded
def command(model: str, *, as_json: bool) -> int:
    """Tell what is installed, and what fits the KV cache.

    Names the engine and the device that would be used, the model's geometry, and how many sequences without a shared
    prefix fit. Starts no engine. Exit code 4 when vLLM or the model is missing.
    """
    from reasoner.cli.terminal import Terminal, clean
    from reasoner.errors import EngineError

    terminal = Terminal(sys.stdout, sys.stderr)
    findings = {**_software(), **_engine()}
    broken = findings["vllm"] is None
    try:
        findings |= _model(model, terminal)
    except EngineError as error:
        findings |= {"model": model, "trouble": str(error)}
        broken = True
    if as_json:
        terminal.give(json.dumps(findings))
    else:
        for name, value in findings.items():
            terminal.give(clean(f"{name.replace('_', ' ').replace('kv ', 'KV '):<22} {_shown(value)}"))
    return ENGINE if broken else ANSWERED


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{number:,} of {tokens} tokens" for tokens, number in value.items())
    return "unknown" if value is None else str(value)


def _software() -> dict[str, Any]:
    from reasoner.catalog import entries
    from reasoner.machine import installed
    from reasoner.models.cache import cache_home
    from reasoner.sandbox.layers import detect

    sandbox = detect()
    return {
        "reasoner": installed("reasoner-kit"),
        "python": platform.python_version(),
        "strategies": sorted(entries("strategy")),
        "verifiers": sorted(entries("verifier")),
        "cache": str(cache_home()),
        "code_sandbox": list(sandbox.names),
        **({"sandbox_lacks": sandbox.missing} if sandbox.missing else {}),
    }


def _engine() -> dict[str, Any]:
    from reasoner.engines.vllm import VllmEngine
    from reasoner.engines.vllm.build import installed_build
    from reasoner.engines.vllm.served import CPU_BLOCK
    from reasoner.machine import cpu_name, gpus, installed, usable_cores
    from reasoner.models.dtype import default_dtype

    build = installed_build()
    if build is None:
        return {"vllm": None, "way_out": "install the extra `cpu` or, with an NVIDIA GPU, `gpu`"}
    defaults = VllmEngine()
    return {
        "vllm": f"{build.package} {build.version}",
        "torch": installed("torch"),
        "device": f"CPU, {cpu_name()}, {usable_cores()} cores usable" if build.cpu else _told(gpus()),
        "dtype": ": ".join(default_dtype(None)) if build.cpu else "the model's own",
        "core": "in process" if build.cpu else "a process of its own",
        "prefix_caching": defaults.enable_prefix_caching,
        "block_size": CPU_BLOCK if build.cpu else None,
    }


def _told(gpus: tuple[str, ...] | None) -> str:
    return "no NVIDIA driver answers" if gpus is None else "; ".join(gpus)


def _model(name: str, terminal: "Terminal") -> dict[str, Any]:
    from reasoner.engines.vllm import VllmEngine
    from reasoner.engines.vllm.build import installed_build
    from reasoner.engines.vllm.served import CPU_CONTEXT
    from reasoner.models.dtype import BYTES, default_dtype
    from reasoner.models.geometry import read_card, sequences_that_fit
    from reasoner.models.resolve import resolve

    resolved = resolve(name, terminal.say)
    if resolved.folder is None:
        return {"model": resolved.name, "folder": "not on this machine yet: vLLM fetches it at the first start"}
    build = installed_build()
    chosen = default_dtype(resolved.folder) if build and build.cpu else None
    size = BYTES[chosen.dtype] if chosen else 2
    card = read_card(resolved.folder, name=resolved.name, kv_bytes_per_element=size)
    found: dict[str, Any] = {"dtype": ": ".join(chosen)} if chosen else {}
    found |= {"model": card.name, "folder": str(resolved.folder), **_geometry(card)}
    if chosen and card.kv_bytes_per_token:
        room = int(VllmEngine().kv_gib * 2**30)
        window = min(card.context or CPU_CONTEXT, CPU_CONTEXT)
        lengths = [tokens for tokens in LENGTHS if tokens <= window] or [window]
        found["kv_cache_bytes"] = room
        found["kv_cache_tokens"] = room // card.kv_bytes_per_token
        found["sequences_that_fit"] = {str(n): sequences_that_fit(card, kv_bytes=room, tokens=n) for n in lengths}
    return found


def _geometry(card: "ModelCard") -> dict[str, Any]:
    return {
        "parameters": card.parameters or None,
        "context_tokens": card.context or None,
        "layers": card.layers or None,
        "attention": card.attention,
        "query_heads": card.heads or None,
        "kv_heads": card.kv_heads or None,
        "head_dim": card.head_dim or None,
        "kv_bytes_per_token": card.kv_bytes_per_token or None,
    }
