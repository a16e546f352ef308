"""A reward model as a small head on a model's hidden states: its file, and the folder from which vLLM serves it.

One native architecture of vLLM serves all such heads: `Qwen2ForRewardModel`. Its head is `w2 . relu(W1 x + b1) + b2`
in float32 on each hidden state: a linear head is exactly `relu(w.x + b) - relu(-(w.x + b))`. A Llama model is a Qwen2
model with q, k and v biases of zero. A head on an inner layer is served on the model cut off after that layer,
which is also cheaper to compute.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from reasoner.errors import EngineUnavailable, UsageError, require
from reasoner.journal.folder import write_whole
from reasoner.models.cache import built_folder, cache_home, sha256_of, source_of
from reasoner.models.resolve import resolve
from reasoner.system.files import open_regular, parse_json, read_object
from reasoner.types import Notify

Array = NDArray[np.floating[Any]]

_LAYER = "model.layers."


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """The model that a head was fitted on, by name and by `backbone_digest`."""

    backbone: str
    backbone_sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A scalar of a hidden state x of width d: `weight . x + bias`, with the weight [d].

    x is the state after the first `layer` decoder layers, passed through the model's final norm.
    """

    layer: int
    weight: Array
    bias: float
    info: HeadInfo

    def __post_init__(self) -> None:
        require(self.layer, "layer", at_least=1)
        if self.weight.ndim != 1:
            raise UsageError(
                f"the weight of a head must have one dimension (got {self.weight.ndim})"
            )

    @property
    def width(self) -> int:
        """The width d of the hidden states that it reads."""
        return len(self.weight)

    def logit(self, x: Array) -> Array:
        """The scalar of each hidden state: [..., d] to [...]; its sigmoid is the score."""
        scalar: Array = x @ self.weight + self.bias
        return scalar

    def layers(self) -> tuple[Array, Array, Array, Array]:
        """The head as the two layers that vLLM computes: W1 [d, d], b1 [d], W2 [1, d], b2 [1]."""
        width = self.width
        w1, b1 = np.zeros((width, width), np.float32), np.zeros(width, np.float32)
        w2 = np.zeros((1, width), np.float32)
        w1[:2], b1[:2], w2[0, :2] = (
            [self.weight, -self.weight],
            [self.bias, -self.bias],
            [1, -1],
        )
        return w1, b1, w2, np.zeros(1, np.float32)


def save_head(head: Head, file: Path) -> None:
    """Write a head as a small safetensors file."""
    from safetensors.numpy import save

    tensors = {"w2": head.weight, "b2": np.array([head.bias])}
    about = json.dumps(
        {"layer": head.layer, "info": dataclasses.asdict(head.info)}, sort_keys=True
    )
    arrays = {
        name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()
    }
    # Not by `save_file`, which would replace even a device by a new file.
    write_whole(file, [save(arrays, metadata={"head": about})])


def load_head(file: Path) -> Head:
    """Read a file that `save_head` wrote."""
    from safetensors import SafetensorError, safe_open

    try:
        open_regular(file).close()
        with safe_open(file, framework="numpy") as opened:
            about = parse_json((opened.metadata() or {})["head"])
            names = opened.keys()
            tensors: dict[str, Array] = {
                name: opened.get_tensor(name) for name in names
            }
        info = TypeAdapter(HeadInfo).validate_python(about["info"])
        layer = TypeAdapter(int).validate_python(about["layer"])
        return Head(layer, tensors["w2"], float(tensors["b2"][0]), info)
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no file {file}: fit a head, or name a reward model"
        ) from error
    except (
        SafetensorError,
        ValidationError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
    ) as error:
        raise UsageError(
            f"{file} is not the file of a head ({type(error).__name__}): fit it again"
        ) from error


def backbone_digest(folder: Path) -> str:
    """A hex digest of a model's weights; for a converted model, the SHA-256 of its source file."""
    if source := source_of(folder):
        return source
    whole = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        whole.update(bytes.fromhex(sha256_of(file)))
    return whole.hexdigest()


def serving_folder(file: Path, notify: Notify) -> Path:
    """The folder from which vLLM serves the head in `file` on its backbone; built once in the user's cache.

    Raises:
        UsageError: the file is not a head, or the backbone is not the model that it was fitted on.
        EngineUnavailable: the folder cannot be built.
    """
    head = load_head(file)
    backbone = resolve(head.info.backbone, notify).folder
    if backbone is None:
        raise EngineUnavailable(
            f"{head.info.backbone}, the model of this head, is not on this machine: download it"
        )
    digest = backbone_digest(backbone)
    if digest != head.info.backbone_sha256:
        raise UsageError(
            f"{file.name} was fitted on {head.info.backbone} {head.info.backbone_sha256[:12]}, but this machine has "
            f"{digest[:12]}: fit the head again"
        )
    identity = hashlib.sha256(f"v1 {digest} {sha256_of(file)}".encode()).hexdigest()
    return built_folder(
        cache_home() / "models" / f"{file.stem}-reward-{identity[:12]}",
        source=identity,
        megabytes=sum(shard.stat().st_size for shard in backbone.glob("*.safetensors"))
        // 10**6
        + 10,
        fill=lambda folder: write_checkpoint(backbone, head, folder),
        notify=notify,
        what="the reward model",
    )


def write_checkpoint(backbone: Path, head: Head, folder: Path) -> None:
    """Write the backbone up to the head's layer, and the head, as a checkpoint of vLLM's `Qwen2ForRewardModel`."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def wanted(name: str) -> bool:
        if name.startswith(_LAYER):
            return int(name.removeprefix(_LAYER).partition(".")[0]) < head.layer
        return name in ("model.embed_tokens.weight", "model.norm.weight")

    try:
        config = read_object(backbone / "config.json")
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"malformed {backbone / 'config.json'}: {error}"
        ) from error
    _check(config, head)
    tensors = dict(_tensors(backbone, wanted))
    for name in [
        name
        for name in tensors
        if name.endswith("_proj.weight") and ".self_attn.o_" not in name
    ]:
        bias = name.removesuffix("weight") + "bias"
        if ".self_attn." in name and bias not in tensors:
            tensors[bias] = torch.zeros(
                tensors[name].shape[0], dtype=tensors[name].dtype
            )
    names = ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias")
    tensors |= {
        name: torch.from_numpy(array)
        for name, array in zip(names, head.layers(), strict=True)
    }
    try:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    omitted = {
        "_name_or_path",
        "_model_name_or_path",
        "attention_bias",
        "mlp_bias",
        "pretraining_tp",
    }
    settings = {name: value for name, value in config.items() if name not in omitted}
    if "layer_types" in settings:
        settings |= {
            "layer_types": settings["layer_types"][: head.layer],
            "max_window_layers": head.layer,
        }
    # The model type stays the backbone's: for "qwen2" transformers would not use the tokenizer in the files.
    settings |= {
        "architectures": ["Qwen2ForRewardModel"],
        "num_hidden_layers": head.layer,
        "tie_word_embeddings": False,
        "reasoner_head": True,
    }
    (folder / "config.json").write_text(
        json.dumps(settings, indent=2), encoding="utf-8"
    )
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
    ):
        if (backbone / name).exists():
            shutil.copyfile(backbone / name, folder / name)


def _check(config: dict[str, Any], head: Head) -> None:
    kind, layers, width = (
        config.get("model_type"),
        config.get("num_hidden_layers", 0),
        config.get("hidden_size", 0),
    )
    if kind not in ("llama", "qwen2"):
        raise UsageError(
            f"a head on a {kind} model cannot be served: use a llama or qwen2 model"
        )
    heads = config["num_attention_heads"]
    biased = config.get("mlp_bias") or config.get("attention_bias")
    if biased or config.get("head_dim", width // heads) * heads != width:
        raise UsageError(
            "Qwen2's architecture does not support this model's biases or head size: choose another model"
        )
    if head.width != width or head.layer > layers:
        raise UsageError(
            f"the head reads layer {head.layer}, width {head.width}; the backbone has {layers} layers of width {width}"
        )


def _tensors(folder: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as opened:
            for name in filter(wanted, opened.keys()):
                yield name, opened.get_tensor(name)
