"""A model that thinks, for tests: the embedded one with two of its special tokens as markers of thinking."""

import json
from pathlib import Path
from typing import Final

START, END = "<think>", "</think>"
START_ID, END_ID = 6, 5
"""The ids of `<filename>` and of `<file_sep>`, which a chat never has."""
NEWLINE_ID = 198
TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n'"
    " + message['content'].split('</think>')[-1].strip() }}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
"""It opens thinking in every reply, as DeepSeek-R1's does, and closes it at once where it is asked to, as Qwen3's."""


def thinking_model(folder: Path, embedded: Path) -> Path:
    """The folder of a model that thinks, made from the folder of the embedded model.

    The closing marker is a little less likely than a line break, so that some thoughts end by themselves.
    """
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        (folder / name).write_bytes((embedded / name).read_bytes())
    weights = load_file(embedded / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    rows[END_ID] = 0.9 * rows[NEWLINE_ID]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = json.loads((embedded / "tokenizer.json").read_text(encoding="utf-8"))
    names = {START_ID: START, END_ID: END}
    vocabulary = tokenizer["model"]["vocab"]
    for token in tokenizer["added_tokens"]:
        if token["id"] in names:
            vocabulary[names[token["id"]]] = vocabulary.pop(token["content"])
            # As in Qwen3 and DeepSeek-R1, the markers are added tokens, but not special ones.
            token |= {"content": names[token["id"]], "special": False}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder
