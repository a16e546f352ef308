"""`reasoner doctor`: what is installed, which device runs the model, and how many sequences fit."""

import json
import platform
import sys
from typing import TYPE_CHECKING, Any

import click

from reasoner.cli.exits import ANSWERED, ENGINE, guarded
from reasoner.cli.options import SPEC, json_option, names_of

if TYPE_CHECKING:
    from reasoner.cli.terminal import Terminal
    from reasoner.engines.vllm import VllmEngine
    from reasoner.models.info import CachedLayers
    from reasoner.models.thinking import ThinkingProfile

LENGTHS = (512, 2048, 8192)
"""Sequence lengths in tokens for which the number that fits is shown."""


@click.command("doctor")
@click.option("-m", "--model", default="embedded", show_default=True, metavar="PATH_OR_ID",
              help="The model to inspect: a folder or a Hugging Face id.")  # fmt: skip
@click.option("-e", "--engine", default="vllm", show_default=True, metavar=SPEC, shell_complete=names_of("engine"),
              help="The engine vllm with the options to check, as in vllm:kv_cache_dtype=fp8.")  # fmt: skip
@json_option("the findings")
@guarded
def command(model: str, engine: str, *, as_json: bool) -> int:
    """Show what is installed, and how many sequences fit the KV cache.

    Names the engine and the device that would be used, the model's geometry, and the arguments that vLLM would get
    besides its own defaults. The number of sequences that fit holds for sequences without a shared prefix. Starts no
    engine. Exit code 4 if vLLM or the model is missing.
    """
    from reasoner.cli.terminal import Terminal, clean
    from reasoner.errors import EngineError

    terminal = Terminal(sys.stdout, sys.stderr)
    chosen = _chosen(engine)
    findings = {**_software(), **_engine()}
    broken = findings["vllm"] is None
    try:
        findings |= _model(model, chosen, terminal)
    except EngineError as error:
        findings |= {"model": model, "trouble": str(error)}
        broken = True
    if as_json:
        terminal.give(json.dumps(findings))
    else:
        for name, value in findings.items():
            terminal.give(clean(f"{name.replace('_', ' ').replace('kv ', 'KV '):<22} {_shown(name, value)}"))
    return ENGINE if broken else ANSWERED


def _cached(group: "CachedLayers") -> str:
    kept = f"the last {group.window:,} tokens" if group.window > 1 else "a state" if group.window else "all tokens"
    return f"{group.layers} keep {kept}"


def _chosen(spec: str) -> "VllmEngine":
    """The engine of --engine. Raises UsageError: it is another one than vLLM, or its options do not fit."""
    from reasoner.cli.options import choose_engine
    from reasoner.engines.vllm import VllmEngine
    from reasoner.errors import UsageError

    engine = choose_engine(spec)
    if not isinstance(engine, VllmEngine):
        raise UsageError(f"--engine {spec} cannot be inspected: doctor takes vllm, as in vllm:kv_cache_dtype=fp8")
    return engine


def _shown(name: str, value: Any) -> str:
    from reasoner.registry import as_written
    from reasoner.specs import written

    match value:
        case bool():
            return "on" if value else "off"
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(value) or "none"
        case dict() if name == "vllm_arguments":
            return ", ".join(f"{argument}={written(as_written(given))}" for argument, given in value.items())
        case dict():
            return ", ".join(f"{number:,} of {tokens} tokens" for tokens, number in value.items())
        case _:
            return "unknown" if value is None else str(value)


def _software() -> dict[str, Any]:
    from reasoner.models.cache import cache_home
    from reasoner.registry import entries
    from reasoner.sandbox.layers import detect
    from reasoner.system.machine import installed

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
    from reasoner.engines.vllm.build import installed_build
    from reasoner.models.dtype import default_dtype
    from reasoner.system.extras import install_vllm
    from reasoner.system.machine import cpu_name, gpus, installed, usable_cores

    build = installed_build()
    if build is None:
        return {"vllm": None, "way_out": f"run `{install_vllm()}`"}
    if build.cpu:
        device = f"CPU, {cpu_name()}, {usable_cores()} cores usable"
    else:
        names = gpus()
        device = "no NVIDIA driver found" if names is None else "; ".join(names)
    return {
        "vllm": f"{build.package} {build.version}",
        "torch": installed("torch"),
        "device": device,
        "dtype": ": ".join(default_dtype(None)) if build.cpu else "the model's own",
        "core": "in process" if build.cpu else "a separate process",
    }


def _thinking(profile: "ThinkingProfile | None") -> str:
    """How a model thinks, in a line."""
    if profile is None:
        return "no"
    when = "always" if profile.when == "always" else "on request"
    markers = " to ".join(marker.strip().replace("\n", " ") for marker in (profile.start_text, profile.end_text))
    levels = f"levels {', '.join(profile.levels)}" if profile.levels else "no levels"
    return f"{when}, from {markers}, parser {profile.parser or 'none'}, {levels}"


def _model(name: str, engine: "VllmEngine", terminal: "Terminal") -> dict[str, Any]:
    from reasoner.engines.vllm.arguments import changed
    from reasoner.engines.vllm.build import installed_build
    from reasoner.engines.vllm.kv_caches import with_caches
    from reasoner.engines.vllm.served import CPU_CONTEXT
    from reasoner.errors import EngineUnavailable
    from reasoner.models.dtype import BYTES, default_dtype
    from reasoner.models.geometry import read_model_info, sequences_that_fit
    from reasoner.models.resolve import resolve
    from reasoner.models.thinking_files import read_profile

    resolved = resolve(name, terminal.say)
    build = installed_build()
    settings = engine.settings(build, resolved) if build else {}
    if engine.args and settings:
        settings = changed(settings)
    settings.pop("model", None)
    passed = {"vllm_arguments": settings} if settings else {}
    if resolved.folder is None:
        folder = "not on this machine yet: vLLM downloads it at the first start"
        return {"model": resolved.name, "folder": folder, **passed}
    dtype = default_dtype(resolved.folder) if build and build.cpu else None
    info = read_model_info(resolved.folder, name=resolved.name, kv_bytes_per_element=BYTES[dtype.dtype] if dtype else 2)
    trouble = ""
    try:
        info = with_caches(info, resolved.folder, terminal.say, dtype=dtype.dtype if dtype else "bfloat16")
    except EngineUnavailable as error:
        trouble = f"unknown: {error}"
    findings: dict[str, Any] = {
        **({"dtype": ": ".join(dtype)} if dtype else {}),
        "model": info.name,
        "folder": str(resolved.folder),
        "parameters": info.parameters or None,
        **({"active_parameters": info.active_parameters} if info.active_parameters else {}),
        "context_tokens": info.context or None,
        "layers": info.layers or None,
        "attention": info.attention,
        "query_heads": info.heads or None,
        "kv_heads": info.kv_heads or None,
        "head_dim": info.head_dim or None,
        **({"kv_layers": [_cached(group) for group in info.caches]} if info.caches else {}),
        "kv_bytes_per_token": info.kv_bytes_per_token or None,
        **({"kv_trouble": trouble} if trouble else {}),
        "thinking": _thinking(read_profile(resolved.folder, resolved.name)),
    }
    findings |= passed
    if dtype and info.kv_bytes_per_token:
        size = int(engine.kv_gib * 2**30)
        window = max(engine.max_model_len, 0) or min(info.context or CPU_CONTEXT, CPU_CONTEXT)
        lengths = [tokens for tokens in LENGTHS if tokens <= window] or [window]
        findings["kv_cache_bytes"] = size
        findings["kv_cache_tokens"] = size // info.kv_bytes_per_token
        findings["sequences_that_fit"] = {str(n): sequences_that_fit(info, kv_bytes=size, tokens=n) for n in lengths}
    return findings
