"""Chats and text as token ids, by vLLM's own renderer; how a model thinks."""

import copy
import re
from collections.abc import Sequence
from typing import Any, Final

from reasoner.engines import named_profile
from reasoner.models.families import AUTO, OFF, Arguments
from reasoner.models.probing import ModelReader, Rendering, find_profile, with_markers
from reasoner.models.thinking import ThinkingProfile
from reasoner.types import Message, TokenIds

NO_ARGUMENTS: Final[Arguments] = {}
_BEFORE: Final = "\n"
"""Text that a continuation is encoded after, where a tokenizer writes a blank before the first word."""
_BRACKETED: Final = re.compile(r"(\[/?[A-Z_]+\])")


class TextEncoder:
    """A tokenizer of vLLM's: text as token ids, and back. For one thread at a time."""

    def __init__(self, tokenizer: Any) -> None:
        from vllm.utils.mistral import is_mistral_tokenizer

        self.tokenizer = tokenizer
        self.mistral = is_mistral_tokenizer(tokenizer)
        self.added = frozenset(
            tokenizer.all_special_tokens
            if self.mistral
            else tokenizer.get_added_vocab()
        )
        self._before: TokenIds = ()
        if self.encode(f"{_BEFORE}x") != self.encode(_BEFORE) + self.encode("x"):
            self._before = self.encode(_BEFORE)

    def encode(self, text: str) -> TokenIds:
        """The ids of a piece of text, without prepended tokens."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def after(self, text: str) -> TokenIds:
        """The ids of a piece of text that follows other text: no blank is put before it."""
        if not self._before:
            return self.encode(text)
        ids, length = self.encode(_BEFORE + text), len(self._before)
        return ids[length:] if ids[:length] == self._before else self.encode(text)

    def marked(self, text: str) -> TokenIds:
        """The ids of a text with markers that follows other text; Mistral's tokenizers take markers for plain text."""
        if not self.mistral:
            return self.after(text)
        ids: TokenIds = ()
        for part in filter(None, _BRACKETED.split(text)):
            special = part in self.added
            ids += (
                (self.tokenizer.convert_tokens_to_ids(part),)
                if special
                else self.after(part)
            )
        return ids


class PromptRenderer(TextEncoder):
    """Renders chats and text for one model, by vLLM's own renderer, so that ids equal those of a vLLM server.

    `renders_chats` is False where the model has no chat template. Some models render chats by code (DeepSeek-V3.2) or
    directly to token ids (Mistral); vLLM's renderer supports each.
    """

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer
        # vLLM uses its own tokenizer in another thread, and a tokenizer is not thread-safe.
        super().__init__(copy.deepcopy(renderer.tokenizer))
        # Decoded text must match the ids exactly.
        self.tokenizer.clean_up_tokenization_spaces = False
        self.renders_chats = self._probe()

    def _probe(self) -> bool:
        from vllm.renderers.chat_utils import ChatTemplateResolutionError

        try:
            self.chat((Message("user", "?"),))
        except ChatTemplateResolutionError:
            return False
        return True

    def rendered(
        self,
        messages: Sequence[Message],
        arguments: Arguments = NO_ARGUMENTS,
        *,
        reply: bool = True,
    ) -> Rendering:
        """A chat as text, or as ids where the model's template writes these; `arguments` are those of the template.

        Raises:
            ValueError: the template refuses the chat, or there is none.
        """
        from vllm.renderers.params import ChatParams

        turns = [message.fields for message in messages]
        # The text of Mistral's own library is for people and must not be tokenized.
        given = {**arguments, "add_generation_prompt": reply, "tokenize": self.mistral}
        _, rendered = self._renderer.render_messages(
            turns, ChatParams(chat_template_kwargs=given)
        )
        return (
            tuple(rendered["prompt_token_ids"])
            if "prompt_token_ids" in rendered
            else str(rendered["prompt"])
        )

    def chat(
        self,
        messages: Sequence[Message],
        arguments: Arguments = NO_ARGUMENTS,
        *,
        reply: bool = True,
    ) -> TokenIds:
        """A chat up to where the model's reply begins; without `reply`, up to the end of the last turn.

        Raises:
            ValueError: the template refuses the chat, or there is none.
        """
        rendered = self.rendered(messages, arguments, reply=reply)
        # The template contains the special tokens: adding them again would double the first.
        return self.encode(rendered) if isinstance(rendered, str) else rendered

    @property
    def served_tokenizer(self) -> Any:
        """The tokenizer that vLLM uses, for its thread."""
        return self._renderer.tokenizer

    @property
    def reader(self) -> ModelReader:
        """What shows how the model thinks."""
        return ModelReader(self.rendered, self.marked, self.added)

    def raw(self, text: str) -> TokenIds:
        """The ids of a text that is a complete prompt, with the tokens that the tokenizer prepends."""
        return tuple(self.tokenizer.encode(text))

    def decode(self, ids: TokenIds) -> str:
        """The text of token ids, special tokens included."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text


def served_profile(
    name: str, parser: str, config: Any, reader: ModelReader
) -> ThinkingProfile | None:
    """How a model thinks that is being served; None for one that does not. `config` is vLLM's `ModelConfig`.

    Raises:
        UnknownName: no family of models has this parser.
    """
    given = None if parser == AUTO else named_profile(parser)
    return (
        find_profile(name, _model_type(config), reader, given=given)
        if parser == AUTO or given
        else None
    )


def name_parser(arguments: Any, name: str, parser: str) -> None:
    """Give vLLM's arguments the parser by which it knows where thinking ends, and a JSON schema begins to hold.

    The tokenizer is the one that vLLM loads next, from its cache. Nothing is done where it has no markers, nor where it
    cannot be loaded: then the start fails and says why.
    """
    if parser in OFF:
        return
    from vllm.tokenizers import cached_tokenizer_from_config

    try:
        config = arguments.create_model_config()
        encoder = TextEncoder(cached_tokenizer_from_config(config))
    except Exception:
        return
    reader = ModelReader(lambda _, __: "", encoder.marked, encoder.added)
    given = None if parser == AUTO else named_profile(parser)
    profile = with_markers(name, _model_type(config), reader, given=given)
    if profile and _fits(profile.parser, encoder.tokenizer):
        arguments.structured_outputs_config.reasoning_parser = profile.parser


def _fits(parser: str, tokenizer: Any) -> bool:
    """Whether vLLM has a reasoning parser of this name that finds its markers in a tokenizer."""
    from vllm.reasoning import ReasoningParserManager

    try:
        ReasoningParserManager.get_reasoning_parser(parser)(tokenizer)
    except Exception:  # a parser raises what it likes
        return False
    return True


def _model_type(config: Any) -> str:
    return str(getattr(config.hf_config, "model_type", "") or "")
