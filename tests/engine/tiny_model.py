"""A language model with random weights that starts and draws in a moment, for tests of the engine around it."""

import shutil
from pathlib import Path

LAYERS, KV_WIDTH = 2, 32
BYTES_PER_TOKEN = LAYERS * 2 * KV_WIDTH * 4
"""Of its KV cache in 32 bits: a key and a value in each layer."""


def tiny_llama(folder: Path, embedded: Path) -> Path:
    """The folder of the model, which speaks the tokens of the embedded one and hardly ever ends a reply."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=KV_WIDTH,
        max_position_embeddings=2048,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(embedded / name, folder / name)
    return folder
