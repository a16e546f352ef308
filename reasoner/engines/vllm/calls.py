"""Calls of tools in the form of a model's family, read by vLLM's own parser of it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Self

from reasoner.answers.json_values import LONGEST
from reasoner.answers.tool_calls import ToolCall, call_text
from reasoner.engines.vllm.parts import HARMONY, Before, Marks, decode, split_parts
from reasoner.errors import UnknownName, UsageError
from reasoner.models.families import AUTO
from reasoner.types import Completion

GPT_OSS: Final = "openai"
"""vLLM's name for the calls of gpt-oss, for which its parser reads nothing: they are messages of their own."""
_TO_FUNCTION: Final = re.compile(
    r"to=functions\.([\w.-]{1,256})[^<]*(?:<\|[a-z]+\|>[^<]*)??<\|message\|>(.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class CallReader:
    """Rewrites the calls in a reply into the form of all engines, in which `read_calls` reads them."""

    parser: Any
    """vLLM's class; None for gpt-oss."""
    marks: Marks | None
    tokenizer: Any

    @classmethod
    def of(cls, name: str, tokenizer: Any, marks: Marks | None) -> Self | None:
        """The reader of a parser of vLLM, by its name; None for "auto" where only the common forms are read.

        Raises:
            UnknownName: vLLM has no such parser.
            UsageError: it does not fit the tokenizer.
        """
        harmony = marks is not None and marks.profile.parser == HARMONY
        if harmony and name in (AUTO, GPT_OSS):
            return cls(None, marks, tokenizer)
        if name == AUTO:
            return None
        from vllm.tool_parsers import ToolParserManager

        known = ToolParserManager.list_registered()
        if name not in known:
            raise UnknownName("tool call parser", name, [AUTO, *known])
        misfit = f"tool_call_parser={name} does not fit this model's tokenizer: choose another, or {AUTO}"
        if name == GPT_OSS:
            raise UsageError(misfit)
        try:
            parser = ToolParserManager.get_tool_parser(name)
            parser(tokenizer)
        except Exception as error:  # a parser raises what it likes where the tokenizer lacks its markers
            raise UsageError(misfit) from error
        return cls(parser, marks, tokenizer)

    def rewritten(self, completion: Completion, before: Before) -> Completion:
        """The completion with its calls in the common form; unchanged where it has none that can be read."""
        return self._harmony(completion, before) if self.parser is None else self._parsed(completion, before)

    def _parsed(self, completion: Completion, before: Before) -> Completion:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        ids, thought = completion.continuation, completion.usage.thinking_tokens
        # The markers of calls may be special tokens, which the text of a completion is without.
        raw = decode(ids[thought:], before.token_ids + ids[:thought], self.tokenizer, special=True)
        if completion.unclosed or len(raw) > LONGEST:
            return completion
        try:
            request = ChatCompletionRequest(messages=[], tools=json.loads(completion.prompt.tools))
            extracted = self.parser(self.tokenizer, request.tools).extract_tool_calls(raw, request)
            calls = [ToolCall(call.function.name, call.function.arguments) for call in extracted.tool_calls]
        except Exception:  # a parser raises what it likes on a text that a model wrote
            return completion
        text = (extracted.content or "").strip()
        return replace(completion, text="\n".join(filter(None, (text, call_text(calls))))) if calls else completion

    def _harmony(self, completion: Completion, before: Before) -> Completion:
        """The calls of gpt-oss, each a message to a function, in which its thinking ends without a final message."""
        assert self.marks is not None
        ids = completion.continuation
        begins = [0, *(at for at, token in enumerate(ids) if token == self.marks.headers[0] and at)]
        messages = [ids[begin:end] for begin, end in pairwise([*begins, len(ids)])]
        each_call = [self._to_function(message, before) for message in messages]
        calls = [call for call in each_call if call]
        if not calls:
            return completion
        thought = begins[next(number for number, call in enumerate(each_call) if call)]
        parts = split_parts(ids[:thought], before, self.marks, self.tokenizer)
        usage = replace(completion.usage, thinking_tokens=thought)
        return replace(completion, text=call_text(calls), thinking=parts.thinking, unclosed=False, usage=usage)

    def _to_function(self, message: Sequence[int], before: Before) -> ToolCall | None:
        raw = decode(message, before.token_ids, self.tokenizer, special=True)
        match = _TO_FUNCTION.search(raw) if len(raw) <= LONGEST else None
        return ToolCall(match[1], match[2].partition("<|")[0].strip()) if match else None
