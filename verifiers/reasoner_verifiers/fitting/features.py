"""Hidden states of a backbone at positions of sequences, for fitting heads. Needs torch and transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reasoner.errors import UsageError
from reasoner.models.dtype import default_dtype
from reasoner.system.machine import install_vllm
from reasoner.types import Completion, Notify, Prompt, TokenIds
from reasoner_verifiers.reward.layouts import step_ends

BATCH_TOKENS = 2048
"""Tokens of one forward pass, padding included."""


@dataclass(slots=True)
class Backbone:
    """A causal model that is loaded for reading its hidden states."""

    tokenizer: Any
    model: Any
    layers: int

    @classmethod
    def load(cls, folder: Path) -> "Backbone":
        """The model in `folder`, in the fastest number type of this processor.

        Raises:
            UsageError: torch or transformers is missing.
        """
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise UsageError(f"fitting needs {error.name}: run `{install_vllm()}`") from error
        model = AutoModel.from_pretrained(folder, dtype=default_dtype(folder).dtype).eval()
        return cls(AutoTokenizer.from_pretrained(folder), model, model.config.num_hidden_layers)

    def ids(self, prompt: Prompt) -> TokenIds:
        """A prompt as the engine renders it, with the generated token ids that continue it."""
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        if prompt.raw or not self.tokenizer.chat_template:
            text = prompt.raw or "\n\n".join(turn["content"] for turn in turns)
            return (*self.tokenizer.encode(text), *prompt.token_ids)
        text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return (*self.tokenizer.encode(text, add_special_tokens=False), *prompt.token_ids)

    def step_ends(self, ids: TokenIds, completion: Completion, *, separator: str = "\n\n") -> tuple[int, ...]:
        """The positions in `ids` at which the steps of a completion are read, as a served head reads them."""
        generated = completion.prompt.token_ids + completion.continuation
        head = len(ids) - len(generated)
        return tuple(head + end for end in step_ends(generated, self.tokenizer.decode, separator))

    def states(
        self, sequences: Sequence[TokenIds], positions: Sequence[Sequence[int]], layers: Sequence[int], notify: Notify
    ) -> list[NDArray[np.float32]]:
        """For each sequence an array [layers, positions, width]: the states after these layers and the final norm.

        It takes minutes for thousands of sequences; `notify` gets a message after each tenth.
        """
        import torch

        states: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(sequences)
        done = 0
        for batch in _batches(sequences):
            longest = max(len(sequences[i]) for i in batch)
            ids, mask = torch.zeros((2, len(batch), longest), dtype=torch.long)
            for row, i in enumerate(batch):
                ids[row, : len(sequences[i])] = torch.tensor(sequences[i])
                mask[row, : len(sequences[i])] = 1
            with torch.inference_mode():
                hidden = self.model(ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
                for row, i in enumerate(batch):
                    columns = torch.tensor(list(positions[i]), dtype=torch.long)
                    picked = [(layer, hidden[layer][row, columns]) for layer in layers]
                    # The last layer's state has passed the final norm already.
                    normed = [state if at == self.layers else self.model.norm(state) for at, state in picked]
                    states[i] = np.stack([state.float().numpy() for state in normed])
            before, done = done, done + len(batch)
            if 10 * before // len(sequences) < 10 * done // len(sequences) < 10:
                notify(f"{done:,} of {len(sequences):,} sequences read")
        return states


def _batches(sequences: Sequence[TokenIds]) -> list[list[int]]:
    """Indices of sequences of similar length, at most `BATCH_TOKENS` tokens with padding per batch."""
    batches: list[list[int]] = []
    for index in sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), i)):
        length = len(sequences[index])
        if batches and length * (len(batches[-1]) + 1) <= BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
