"""Calls of tools in the form of a model's family, read by vLLM's own parser of it."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from reasoner.answers.json_values import LONGEST
from reasoner.answers.tool_calls import ToolCall, call_text
from reasoner.engines.vllm.parts import Before, Marks, PartReader, decode
from reasoner.errors import UnknownName, UsageError
from reasoner.models.families import AUTO
from reasoner.models.thinking import HARMONY
from reasoner.types import Completion, TokenIds

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
        raw = self._raw(completion.continuation, before)
        if completion.unclosed or len(raw) > LONGEST:
            return completion
        text, calls = (
            self._parsed(raw, completion.prompt.tools) if self.parser else (completion.text, _to_functions(raw))
        )
        return (
            replace(completion, text="\n".join(filter(None, (text.strip(), call_text(calls))))) if calls else completion
        )

    def _raw(self, ids: TokenIds, before: Before) -> str:
        """The text after thinking with special tokens, which the markers of calls may be."""
        if self.marks is None:
            return decode(ids, before.token_ids, self.tokenizer, special=True)
        reader = PartReader(before, self.marks, self.tokenizer)
        begin = reader.reading.size
        reader.add(ids, last=True)
        return reader.new[max(0, reader.reading.end - begin) :]

    def _parsed(self, raw: str, tools: str) -> tuple[str, list[ToolCall]]:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        try:
            request = ChatCompletionRequest(messages=[], tools=json.loads(tools))
            extracted = self.parser(self.tokenizer, request.tools).extract_tool_calls(raw, request)
            calls = [ToolCall(call.function.name, call.function.arguments) for call in extracted.tool_calls]
        except Exception:  # a parser raises what it likes on a text that a model wrote
            return "", []
        return extracted.content or "", calls


def _to_functions(raw: str) -> list[ToolCall]:
    """The calls of gpt-oss: messages to a function."""
    calls = map(_TO_FUNCTION.search, raw.split("<|start|>"))
    return [ToolCall(call[1], call[2].partition("<|")[0].strip()) for call in calls if call]
