"""Converts the embedded model, in a separate process: `python -m reasoner.models.convert GGUF FOLDER`."""

import json
import os
import sys
from pathlib import Path

from reasoner.system.child_processes import end_with


def convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file into `folder` as bfloat16 safetensors, with its tokenizer.

    Raises:
        ValueError: the converted model is quantized.
        OSError: the folder cannot be written.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    home = str(gguf.parent)
    dequantize = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        home, gguf_file=gguf.name, quantization_config=dequantize, dtype=torch.bfloat16
    )
    tokenizer = AutoTokenizer.from_pretrained(home, gguf_file=gguf.name)
    # The file's pre-tokenizer is `smollm`, which splits digits off first. Transformers reads it as plain GPT-2, which
    # tokenizes white space before a number differently than in training.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise ValueError("the converted model is quantized")


if __name__ == "__main__":
    end_with(os.getppid())
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
