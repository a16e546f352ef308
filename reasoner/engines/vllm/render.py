"""Prompts as token ids, through vLLM's own renderer: the same for a server and for an engine in this program."""

import copy
from collections.abc import Sequence
from typing import Any

from reasoner.types import Message, TokenIds


class PromptRenderer:
    """Renders chats and text as one model reads them.

    `renders_chats` is False where the model has no chat template. Some models write chats by code instead of a
    template (DeepSeek-V3.2) or straight into token ids (Mistral); vLLM's renderer knows each.
    """

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer
        # vLLM detokenises with its own tokenizer in another thread, and one is not safe to share.
        self._tokenizer: Any = copy.deepcopy(renderer.tokenizer)
        # Decoded text is to be exactly what the ids spell.
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
        # Mistral's own library writes text for people to read, not to be tokenised.
        wanted = {"add_generation_prompt": reply, "tokenize": is_mistral_tokenizer(self._renderer.tokenizer)}
        _, rendered = self._renderer.render_messages(turns, ChatParams(chat_template_kwargs=wanted))
        if "prompt_token_ids" in rendered:
            return tuple(rendered["prompt_token_ids"])
        # The template writes the special tokens itself: adding them again would double the first.
        return self.encode(rendered["prompt"])

    def raw(self, text: str) -> TokenIds:
        """The ids of a text that is a whole prompt, begun as the tokenizer begins one."""
        return tuple(self._tokenizer.encode(text))

    def encode(self, text: str) -> TokenIds:
        """The ids of a piece of text, without any that a prompt would begin with."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: TokenIds) -> str:
        """The text of token ids, special tokens included."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    @property
    def bos(self) -> str:
        """The text of the token that begins every sequence, "" where the model has none."""
        return getattr(self._tokenizer, "bos_token", None) or ""
