"""The KV caches of a model's layers, as vLLM would make them: found from its config alone, without weights."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from reasoner.engines.vllm import build
from reasoner.errors import EngineUnavailable
from reasoner.models.cache import cache_home
from reasoner.models.info import CachedLayers, ModelInfo
from reasoner.system.files import parse_json, read_object, replacing
from reasoner.types import Notify

_SECONDS: Final = 300
_LAYER: Final = re.compile(r"\D*\d*")
"""The part of a cache's name up to the number of its layer."""
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "CRITICAL",
    "VLLM_NO_USAGE_STATS": "1",
    # Kernels for several GPUs that vLLM imports before it knows whether there are any.
    "VLLM_ENABLE_GEMM_RS": "0",
    "VLLM_KIMI_K3_GEMM_AR": "0",
}
"""Variables of the process that builds a model."""


def grouped(workers: Iterable[Iterable[tuple[str, int, int]]]) -> tuple[CachedLayers, ...]:
    """The layers with equal KV caches, by the (name, bytes per token, window) of every cache of each worker.

    Workers divide layers, or the heads of a layer, among them; a layer may have several caches.
    """
    sizes: Counter[tuple[str, int]] = Counter()
    for caches in workers:
        for name, size, window in caches:
            layer = _LAYER.match(name)
            sizes[layer[0] if layer else name, window] += size
    layers = Counter((size, window) for (_, window), size in sizes.items())
    return tuple(CachedLayers(count, size, window) for (size, window), count in sorted(layers.items()))


def with_caches(info: ModelInfo, folder: Path, notify: Notify, *, dtype: str) -> ModelInfo:
    """The model with the KV caches of its layers where its config does not determine them; `dtype` is its number type.

    The first time takes as long as an import of vLLM, in a process of its own; the result is kept in the cache folder.

    Raises:
        EngineUnavailable: vLLM is not installed, or cannot build this model; the message says why.
    """
    if info.caches is None:
        return info
    config = read_object(folder / "config.json")
    if not config.get("architectures"):
        raise EngineUnavailable("its config.json names no architecture")
    installed = build.installed_build()
    if installed is None:
        raise EngineUnavailable("its KV cache is known to vLLM only, which is not installed")
    arguments = {"dtype": dtype}
    key = hashlib.sha256(json.dumps([installed, arguments, config], sort_keys=True).encode()).hexdigest()
    kept = cache_home() / "kv" / f"{key[:32]}.json"
    try:
        return replace(info, caches=grouped([read_object(kept)["caches"]]))
    except (OSError, ValueError, KeyError, TypeError):
        notify("building the model without weights to see its KV cache: some 15 s, once")
    caches = _built(config, arguments)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as file:
            file.write(json.dumps({"caches": caches}).encode())
    except OSError:
        pass  # it is found again the next time
    return replace(info, caches=grouped([caches]))


def _built(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "caches.json"
        asked = {"config": config, "arguments": arguments, "file": str(file)}
        try:
            ended = subprocess.run(  # it kills the process on an interrupt
                [sys.executable, "-m", "reasoner.engines.vllm.kv_specs"],
                # The folder of this package, so that the child finds it even if it is not installed.
                cwd=Path(__file__).parents[3],
                env={**os.environ, **ENVIRONMENT},
                input=json.dumps(asked),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineUnavailable(f"vLLM did not build it within {_SECONDS} s") from error
        if not file.exists():
            raise EngineUnavailable(f"vLLM could not build it: exit status {ended.returncode}")
        answer = parse_json(file.read_bytes())
    if "error" in answer:
        raise EngineUnavailable(f"vLLM cannot build it: {answer['error']}")
    return answer["caches"]
