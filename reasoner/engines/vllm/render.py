"""Prompts as token ids, through vLLM's own renderer, so that they equal those of a vLLM server."""

import copy
from collections.abc import Sequence
from typing import Any

from reasoner.types import Message, TokenIds


class PromptRenderer:
    """Renders chats and text for one model.

    `renders_chats` is False where the model has no chat template. Some models render chats by code (DeepSeek-V3.2) or
    directly to token ids (Mistral); vLLM's renderer supports each.
    """

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer
        # vLLM uses its own tokenizer in another thread, and a tokenizer is not thread-safe.
        self._tokenizer: Any = copy.deepcopy(renderer.tokenizer)
        # Decoded text must match the ids exactly.
        self._tokenizer.clean_up_tokenization_spaces = False
        self.renders_chats = self._probe()

    def _probe(self) -> bool:
        from vllm.renderers.chat_utils import ChatTemplateResolutionError

        try:
            self.chat((Message("user", "?"),))
        except ChatTemplateResolutionError:
            return False
        return True

    def chat(self, messages: Sequence[Message], *, reply: bool = True) -> TokenIds:
        """A chat up to where the model's reply begins; without `reply`, up to the end of the last turn.

        Raises:
            ValueError: the template refuses the chat, or there is none.
        """
        from vllm.renderers.params import ChatParams
        from vllm.utils.mistral import is_mistral_tokenizer

        turns = [{"role": message.role, "content": message.content} for message in messages]
        # The text of Mistral's own library is for people and must not be tokenized.
        arguments = {"add_generation_prompt": reply, "tokenize": is_mistral_tokenizer(self._renderer.tokenizer)}
        _, rendered = self._renderer.render_messages(turns, ChatParams(chat_template_kwargs=arguments))
        if "prompt_token_ids" in rendered:
            return tuple(rendered["prompt_token_ids"])
        # The template contains the special tokens: adding them again would double the first.
        return self.encode(rendered["prompt"])

    def raw(self, text: str) -> TokenIds:
        """The ids of a text that is a complete prompt, with the tokens that the tokenizer prepends."""
        return tuple(self._tokenizer.encode(text))

    def encode(self, text: str) -> TokenIds:
        """The ids of a piece of text, without prepended tokens."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: TokenIds) -> str:
        """The text of token ids, special tokens included."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    @property
    def bos(self) -> str:
        """The text of the token that begins every sequence; "" where the model has none."""
        return getattr(self._tokenizer, "bos_token", None) or ""
