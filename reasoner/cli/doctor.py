"""`reasoner doctor`: what is installed, whether a server answers, and what vLLM would run with."""

import json
import platform
from typing import TYPE_CHECKING, Any

import click

from reasoner.cli import interrupts
from reasoner.cli.commands import Command
from reasoner.cli.options import engine_options, json_option
from reasoner.cli.terminal import ANSWERED, ENGINE, Terminal, guarded, labelled
from reasoner.errors import EngineError
from reasoner.system.machine import cpu_name, extras, gpus, installed, usable_cores
from reasoner.system.printing import counted

if TYPE_CHECKING:
    from reasoner.engines.openai.engine import OpenAIEngine
    from reasoner.engines.vllm import VllmEngine
    from reasoner.models.thinking import ThinkingProfile
    from reasoner.types import Notify


@click.command("doctor", cls=Command, heading="Set up")
@engine_options
@json_option("the findings")
@guarded
def command(
    model: str | None,
    engine: str | None,
    base_url: str | None,
    as_json: bool,
) -> int:
    """Show what is installed, and what a model or a server needs.

    Lists the extras with the commands that install them. With vLLM, shows the device, the model's size, its KV cache,
    and the arguments that vLLM would get. Starts no engine.

    Exit codes: 0 a model can be asked, here or on a server; 2 usage; 4 the server does not answer, or what --model or
    --engine asks for is missing.
    """
    from reasoner.cli.given import GivenOptions
    from reasoner.engines.openai.engine import OpenAIEngine
    from reasoner.engines.vllm import VllmEngine

    terminal = Terminal()
    chosen = GivenOptions(engine=engine, model=model, base_url=base_url).to_engine()
    findings = _software()
    code = ANSWERED
    try:
        if isinstance(chosen, OpenAIEngine):
            findings |= interrupts.run(lambda: _server(chosen))
        elif isinstance(chosen, VllmEngine):
            findings |= _device()
            # A server needs no vLLM, so its absence is an error only for what needs it.
            code = (
                ENGINE if findings["vllm"] is None and (model or engine) else ANSWERED
            )
            if findings["vllm"] or model:
                findings |= _model(chosen, terminal.say)
    except EngineError as error:
        findings |= {"model": model, "trouble": str(error)}
        code = ENGINE
    if as_json:
        terminal.give(json.dumps(findings))
    else:
        extras = [
            (f"extra {name}", state) for name, state in findings.pop("extras").items()
        ]
        rows = [
            (name.replace("_", " ").replace("kv ", "KV "), _shown(name, value))
            for name, value in findings.items()
        ]
        terminal.show(labelled(rows + extras))
    return code


def _shown(name: str, value: Any) -> str:
    from reasoner.registry import as_written
    from reasoner.specs import written

    match value:
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(value) or "none"
        case dict():
            return ", ".join(
                f"{argument}={written(as_written(given))}"
                for argument, given in value.items()
            )
        case None if name == "vllm":
            return "not installed: a server (--base-url URL) and --engine simulated need none"
    return "unknown" if value is None else str(value)


def _software() -> dict[str, Any]:
    from reasoner.models.cache import cache_home
    from reasoner.sandbox.layers import detect

    sandbox = detect()
    return {
        "reasoner": installed("reasoner-kit"),
        "python": platform.python_version(),
        "cache": str(cache_home()),
        "code_sandbox": list(sandbox.names),
        **({"sandbox_lacks": sandbox.missing} if sandbox.missing else {}),
        "extras": extras(),
    }


async def _server(engine: "OpenAIEngine") -> dict[str, Any]:
    """What a server says of its model. Raises as `OpenAIEngine.start`."""
    try:
        await engine.start()
        info = engine.model
        return {
            "server": engine.name,
            "model": info.name,
            "context_tokens": info.context or None,
            "thinking": _thinking(info.thinking),
            "server_notes": list(engine.notes),
        }
    finally:
        await engine.close()


def _device() -> dict[str, Any]:
    from reasoner.engines.vllm.build import installed_build
    from reasoner.models.geometry import default_dtype

    build = installed_build()
    if build is None:
        return {"vllm": None}
    names = None if build.cpu else gpus()
    device = "no NVIDIA driver found" if names is None else "; ".join(names)
    return {
        "vllm": f"{build.package} {build.version}",
        "torch": installed("torch"),
        "device": f"CPU, {cpu_name()}, {counted(usable_cores(), 'core')} usable"
        if build.cpu
        else device,
        "dtype": ": ".join(default_dtype(None)) if build.cpu else "the model's own",
    }


def _thinking(profile: "ThinkingProfile | None") -> str:
    """How a model thinks, in a line."""
    if profile is None:
        return "no"
    levels = f"levels {', '.join(profile.levels)}" if profile.levels else "no levels"
    return f"{'always' if profile.when == 'always' else 'on request'}, {levels}"


def _model(engine: "VllmEngine", say: "Notify") -> dict[str, Any]:
    """What is known of the model, and the arguments of vLLM. Raises EngineUnavailable."""
    from reasoner.engines.vllm.arguments import converted
    from reasoner.engines.vllm.build import installed_build
    from reasoner.models.families import profile_of
    from reasoner.models.geometry import BYTES, default_dtype, read_model_info
    from reasoner.models.resolve import resolve

    resolved = resolve(engine.model_id, say)
    build = installed_build()
    settings = engine.settings(build, resolved) if build else {}
    if engine.args and settings:
        converted(settings)  # vLLM's own parser refuses what does not fit
    settings.pop("model", None)
    passed = {"vllm_arguments": settings} if settings else {}
    if resolved.folder is None:
        folder = "not on this machine yet: vLLM downloads it at the first start"
        return {"model": resolved.name, "folder": folder, **passed}
    dtype = default_dtype(resolved.folder) if build and build.cpu else None
    info = read_model_info(
        resolved.folder,
        name=resolved.name,
        kv_bytes_per_element=BYTES[dtype.dtype] if dtype else 2,
    )
    kv_bytes = info.kv_bytes_per_token
    return {
        **({"dtype": ": ".join(dtype)} if dtype else {}),
        "model": info.name,
        "folder": str(resolved.folder),
        "parameters": info.parameters or None,
        **(
            {"active_parameters": info.active_parameters}
            if info.active_parameters
            else {}
        ),
        "context_tokens": info.context or None,
        "kv_bytes_per_token": kv_bytes or None,
        **(
            {
                "window": f"{info.windowed_layers} of {info.layers} layers keep the latest {info.window:,} tokens"
            }
            if info.windowed_layers
            else {}
        ),
        **(
            {"kv_cache_tokens": int(engine.kv_gib * 2**30) // kv_bytes}
            if dtype and kv_bytes
            else {}
        ),
        **passed,
        "thinking": f"{_thinking(profile_of(resolved.name))}, by its name",
    }
