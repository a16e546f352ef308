"""Small reward models with random weights, and what plain PyTorch says of them."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reasoner_verifiers import Orm, Prm
from reasoner_verifiers.reward.checkpoint import Array

WIDTH = 128


def beside(orm: Orm, **options: Any) -> Prm:
    """A process reward model that uses the running engine of `orm`, with an empty prefix cache."""
    core: Any = orm.running.started.engine._core
    assert asyncio.run_coroutine_threadsafe(
        core._engine.reset_prefix_cache(), core._loop
    ).result()
    prm = Prm(model=orm.model, **options)
    prm.running.engine, prm.running.recipe = orm.running.engine, orm.running.recipe
    return prm


def hidden_states(backbone: Path, ids: Sequence[int], *, layer: int) -> Array:
    """What the head reads, by transformers in 32 bits: [tokens, width]."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(backbone, dtype=torch.float32)
    model.layers = model.layers[:layer]
    with torch.no_grad():
        states: Array = model(torch.tensor([list(ids)])).last_hidden_state[0].numpy()
    return states


def tiny_prm(folder: Path, tokenizer: Path) -> Path:
    """A Qwen2-style process reward model: two layers, 32-bit weights that are large enough for scores to differ."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2Config, Qwen2Model

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=49152,
        hidden_size=WIDTH,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        initializer_range=0.3,
    )
    model = Qwen2Model(config).eval()
    tensors = {
        f"model.{name}": value.contiguous()
        for name, value in model.state_dict().items()
    }
    for name, shape in {
        "0.weight": (WIDTH, WIDTH),
        "0.bias": (WIDTH,),
        "2.weight": (2, WIDTH),
        "2.bias": (2,),
    }.items():
        tensors[f"score.{name}"] = torch.randn(shape) * 0.2
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    about = config.to_dict() | {
        "architectures": ["Qwen2ForProcessRewardModel"],
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, folder / name)
    return folder


def tiny_prm_logits(folder: Path, ids: Sequence[int]) -> Array:
    """The two labels at every position, by transformers and two matrices: [tokens, 2]."""
    import torch
    from safetensors.torch import load_file
    from transformers import Qwen2Config, Qwen2Model

    tensors: dict[str, Any] = load_file(folder / "model.safetensors")
    model = Qwen2Model(Qwen2Config.from_pretrained(folder)).eval()
    model.load_state_dict(
        {
            name[6:]: value
            for name, value in tensors.items()
            if name.startswith("model.")
        }
    )
    with torch.no_grad():
        states = model(torch.tensor([list(ids)])).last_hidden_state[0]
        inner = torch.relu(
            states @ tensors["score.0.weight"].T + tensors["score.0.bias"]
        )
        logits: Array = (
            inner @ tensors["score.2.weight"].T + tensors["score.2.bias"]
        ).numpy()
    return logits


def tiny_classifier(folder: Path, tokenizer: Path) -> Path:
    """A sequence classifier of one label: two layers, 32-bit weights that are large enough for scores to differ."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=WIDTH,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        initializer_range=0.3,
        num_labels=1,
        pad_token_id=2,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, folder / name)
    return folder


def tiny_classifier_logit(folder: Path, ids: Sequence[int]) -> float:
    """Its scalar at the last position, by transformers: the backbone, then the matrix."""
    import torch
    from transformers import LlamaForSequenceClassification

    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        state = model.model(torch.tensor([list(ids)])).last_hidden_state[0, -1]
        return float(model.score(state)[0])
