"""Builds a model without weights and writes the KV cache of each of its layers: a program for a process of its own.

`python -m reasoner.engines.vllm.kv_specs` reads a JSON object from stdin: the fields of `config.json`, the arguments
of vLLM, and the file for what it finds: a list of (name, bytes per token, window), or why vLLM cannot build the model.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from reasoner.engines.vllm.build import first_line
from reasoner.engines.vllm.worker import cache_of


class _LiteralsOnCpu(TorchFunctionMode):  # type: ignore[misc] # PyTorch's types are not checked
    """Leaves written numbers on the CPU: some models compute with them while they are built."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func is torch.tensor:
            given.setdefault("device", "cpu")
        return func(*args, **given)


class _Unused:
    """What is named while a model is built and used only when it computes."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        pass


class _NoTorchvision(MetaPathFinder, Loader):
    """Stands for torchvision where it is not installed: modules of models with images import it, and use it later."""

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> ModuleSpec | None:
        named = fullname.partition(".")[0] == "torchvision"
        return ModuleSpec(fullname, self, is_package=True) if named else None

    def exec_module(self, module: ModuleType) -> None:
        def part(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return _Unused

        module.__getattr__ = part  # type: ignore[method-assign]


def _language_model(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the part with a KV cache, without the quantization of its weights, which needs a GPU's kernels."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    text = fields.get("text_config") or {}
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(text.get("model_type"))
    chosen = {"architectures": [name], **text} if name else fields
    return {key: value for key, value in chosen.items() if key not in ("quantization_config", "auto_map")}


def _let_any_device_build() -> None:
    """Replace what only computing needs: on a CPU kernels for sparse attention and streams; torchvision."""
    from vllm.platforms import current_platform

    choose = current_platform.get_attn_backend_cls

    def chosen(selected_backend: Any, attn_selector_config: Any, num_heads: int | None = None) -> Any:
        dense = attn_selector_config._replace(use_sparse=False)
        return choose(selected_backend, dense, num_heads)

    if current_platform.is_cpu():
        type(current_platform).get_attn_backend_cls = staticmethod(chosen)
        torch.cuda.Stream = torch.cuda.Event = _Unused
    sys.meta_path.append(_NoTorchvision())


def caches_of(fields: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """The KV caches of a model: name, bytes per token, window. Raises what vLLM raises.

    `fields` are those of `config.json`. What it changes in vLLM is never undone.
    """
    from vllm.config import set_current_vllm_config
    from vllm.distributed import ensure_model_parallel_initialized, init_distributed_environment
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.model_executor.models import ModelRegistry
    from vllm.utils.torch_utils import set_default_torch_dtype
    from vllm.v1.worker.gpu.attn_utils import get_kv_cache_spec

    _let_any_device_build()
    config = _language_model(fields)
    for name in config.get("architectures") or ():
        if known := ModelRegistry.models.get(name):
            # Otherwise vLLM imports it once more, in another process.
            ModelRegistry.register_model(name, known.load_model_cls())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        plain = {"skip_tokenizer_init": True, "enforce_eager": True, "enable_prefix_caching": False}
        made = EngineArgs(model=folder, **plain, **arguments).create_engine_config()
        with set_current_vllm_config(made):
            init_distributed_environment(1, 0, f"file://{folder}/store", 0, "gloo")
            ensure_model_parallel_initialized(1, 1)
            with set_default_torch_dtype(made.model_config.dtype), torch.device("meta"), _LiteralsOnCpu():
                initialize_model(made)
            return [(name, *cache_of(spec)) for name, spec in get_kv_cache_spec(made).items()]


def _answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"caches": caches_of(asked["config"], asked["arguments"])}
    except Exception as error:  # a model class raises what it likes
        return {"error": first_line(error)}


if __name__ == "__main__":
    _asked = json.load(sys.stdin)
    Path(_asked["file"]).write_text(json.dumps(_answer(_asked)), encoding="utf-8")
