"""`reasoner doctor`: what is installed, what it runs on, and how much fits."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import click

from reasoner.cli.exits import ANSWERED, ENGINE, guarded

if TYPE_CHECKING:
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
    """Tell what is installed, which engine and device would be used, and how many sequences fit the KV cache.

    Starts no engine. Exit code 4 when vLLM is missing.
    """
    findings = {**_software(), **_engine(), **_model(model)}
    if as_json:
        click.echo(json.dumps(findings, ensure_ascii=False))
    else:
        for name, value in findings.items():
            click.echo(f"{name:<26} {value}")
    return ANSWERED if findings["vllm"] != "not installed" else ENGINE


def _software() -> dict[str, Any]:
    from reasoner.catalog import entries
    from reasoner.models.cache import cache_home

    return {
        "reasoner": _version("reasoner-kit"),
        "python": platform.python_version(),
        "strategies": ", ".join(sorted(entries("strategy"))) or "none",
        "verifiers": ", ".join(sorted(entries("verifier"))) or "none",
        "cache": str(cache_home()),
    }


def _engine() -> dict[str, Any]:
    from reasoner.engines.vllm import CPU_BLOCK, VllmEngine, installed_build

    build = installed_build()
    if build is None:
        return {"vllm": "not installed", "way out": "install the extra `cpu` or, with an NVIDIA GPU, `gpu`"}
    defaults = VllmEngine()
    return {
        "vllm": f"{build.package} {build.version}",
        "torch": _version("torch"),
        "device": f"CPU, {len(os.sched_getaffinity(0))} cores usable" if build.cpu else _gpus(),
        "core": "in process" if build.cpu else "a process of its own",
        "prefix caching": "on" if defaults.prefix_caching else "off",
        "block size": f"{CPU_BLOCK} tokens" if build.cpu else "vLLM's own choice, 16 tokens on most GPUs",
    }


def _model(name: str) -> dict[str, Any]:
    from reasoner.engines.vllm import CPU_CONTEXT, VllmEngine, installed_build
    from reasoner.models.geometry import read_card, sequences_that_fit
    from reasoner.models.resolve import resolve

    resolved = resolve(name, lambda line: click.echo(line, err=True))
    if resolved.folder is None:
        return {"model": f"{resolved.name}, not on this machine yet: vLLM fetches it at the first start"}
    card = read_card(resolved.folder, name=resolved.name)
    found: dict[str, Any] = {"model": card.name, "folder": str(resolved.folder), **_geometry(card)}
    build = installed_build()
    if build and build.cpu and card.kv_bytes_per_token:
        gib = VllmEngine().kv_gib
        room = int(gib * 2**30)
        found["KV cache"] = f"{gib:g} GiB, {room // card.kv_bytes_per_token:,} tokens"
        for tokens in LENGTHS:
            if tokens <= min(card.context or tokens, CPU_CONTEXT):
                fits = sequences_that_fit(card, kv_bytes=room, tokens=tokens)
                found[f"fit at {tokens:,} tokens each"] = f"{fits:,} sequences without a shared prefix"
    return found


def _geometry(card: "ModelCard") -> dict[str, Any]:
    if not card.kv_bytes_per_token:
        return {"geometry": "not told by its config.json"}
    return {
        "parameters": f"{card.parameters:,}" if card.parameters else "unknown",
        "layers": card.layers,
        "attention": f"{card.attention}, {card.heads} query heads, {card.kv_heads} KV heads of {card.head_dim}",
        "context": f"{card.context:,} tokens",
        "KV bytes per token": f"{card.kv_bytes_per_token:,}",
    }


def _gpus() -> str:
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "no NVIDIA driver answers"
    return "; ".join(told.split("\n")).strip("; ")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
