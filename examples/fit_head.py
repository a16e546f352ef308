"""Fits a linear head on labelled answers: a reward model for `orm` and `prm`. Needs torch and transformers.

Give it answers with `right`, as `reasoner batch` writes them, or nothing: then it is fitted on right and wrong sums.
Use it with `--verifier orm:model=head.safetensors`.
"""

import json
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch.nn.functional import binary_cross_entropy_with_logits as loss
from transformers import AutoModel, AutoTokenizer

from reasoner.models.resolve import resolve
from reasoner_verifiers.reward import checkpoint

SUMS: list[dict[str, Any]] = [
    {"question": f"What is {a} + {b}?", "text": f"It is {a + b + c}", "right": not c}
    for a in range(3, 7)
    for b in range(3, 7)
    for c in (0, 1 + a % 3)
]


def fit(rows: list[dict[str, Any]]) -> checkpoint.Head:
    """A logistic regression on states after replies; a quarter of the questions is held out."""
    folder = str(resolve("embedded", print).folder)
    states, tokenizer = [], AutoTokenizer.from_pretrained(folder)
    template = tokenizer.apply_chat_template
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    for row in rows:
        chat = [{"role": "user", "content": row["question"]}]
        start = template(chat, add_generation_prompt=True, tokenize=False)
        ids = torch.tensor([tokenizer.encode(start + row["text"])])
        with torch.no_grad():
            states.append(model(ids).last_hidden_state[0, -1])
    x, y = torch.stack(states), torch.tensor([float(row["right"]) for row in rows])
    held = torch.tensor([crc32(row["question"].encode()) % 4 == 0 for row in rows])
    mean, scale = x[~held].mean(0), x[~held].std(0) + 1e-6
    z, head = (x - mean) / scale, torch.nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01, weight_decay=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        loss(head(z[~held])[:, 0], y[~held]).backward()
        optimizer.step()
    agreed = (head(z[held])[:, 0] > 0) == (y[held] > 0)
    print(
        f"{int(agreed.sum())} of {len(agreed)} held-out answers are rated on the right side"
    )
    weight = (head.weight[0] / scale).detach()
    bias = float(head.bias.detach() - weight @ mean)
    info = checkpoint.HeadInfo("embedded", checkpoint.backbone_digest(Path(folder)))
    return checkpoint.Head(len(model.layers), weight.numpy(), bias, info)


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text().splitlines() if sys.argv[1:] else ()
    rows = [row for row in map(json.loads, lines) if row["right"] is not None]
    checkpoint.save_head(fit(rows or SUMS), Path("head.safetensors"))
