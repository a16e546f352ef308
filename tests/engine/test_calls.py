"""Calls of tools by gpt-oss, which are messages of their own: read from the tokens of a reply. No engine runs."""

import json
from dataclasses import replace
from typing import Any

import pytest

from reasoner.answers.tool_calls import Calls, ToolCall, read_calls
from reasoner.engines.vllm.build import installed_build, prepare_environment
from reasoner.engines.vllm.engine import _in_parts
from reasoner.engines.vllm.parts import Before, Marks, with_calls
from reasoner.models.families import profile_for_parser
from reasoner.types import Completion, Message, Prompt, Usage
from tests.engine.test_families import small_tokenizer

TOOLS = json.dumps([{"type": "function", "function": {"name": "weather"}}])
PROMPT = Prompt((Message("user", "How warm is it in Oslo?"),), tools=TOOLS)
OSLO = ToolCall("weather", '{"city": "Oslo"}')
HARMONY = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|constrain|>", "<|call|>")
THOUGHT = "<|channel|>analysis<|message|>Oslo, then.<|end|>"


@pytest.fixture(scope="module")
def gpt_oss() -> tuple[Any, Marks]:
    build = installed_build()
    assert build is not None
    prepare_environment(build)
    tokenizer = small_tokenizer(HARMONY, None)
    profile = profile_for_parser("openai_gptoss")
    assert profile is not None
    start, end = (ids_of(tokenizer, text) for text in (profile.start_text, profile.end_text))
    return tokenizer, Marks.of(replace(profile, start=start, end=end), tokenizer)


def ids_of(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def read(gpt_oss: tuple[Any, Marks], text: str) -> tuple[Completion, Completion]:
    """A reply as the engine has it before its calls are read, and after."""
    tokenizer, marks = gpt_oss
    ids, before = ids_of(tokenizer, text), Before(ids_of(tokenizer, "Hi"), 0, opened=False)
    whole = _in_parts(Completion(PROMPT, "", ids, "length", None, Usage(2, 0, len(ids))), before, marks, tokenizer)
    return whole, with_calls(whole, before, marks, tokenizer)


@pytest.mark.parametrize(
    "call",
    [
        '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}',
        '<|channel|>commentary to=functions.weather<|message|>{"city": "Oslo"}<|call|>',
    ],
)
def test_a_message_to_a_function_is_a_call_of_gpt_oss(gpt_oss: tuple[Any, Marks], call: str) -> None:
    whole, changed = read(gpt_oss, f"{THOUGHT}<|start|>assistant{call}")
    assert (whole.text, whole.unclosed) == ("", False)
    assert read_calls(changed.text) == Calls("", (OSLO,))
    assert (changed.thinking, changed.unclosed) == ("Oslo, then.", False)
    assert changed.usage == whole.usage
    assert changed.usage.thinking_tokens == len(ids_of(gpt_oss[0], THOUGHT))
    _, two = read(gpt_oss, f"{THOUGHT}<|start|>assistant{call}<|start|>assistant{call}")
    assert read_calls(two.text) == Calls("", (OSLO, OSLO))


@pytest.mark.parametrize("text", [f"{THOUGHT}<|start|>assistant<|channel|>final<|message|>Warm.", THOUGHT[:40]])
def test_a_reply_without_a_call_stays_as_it_is(gpt_oss: tuple[Any, Marks], text: str) -> None:
    whole, changed = read(gpt_oss, text)
    assert changed == whole
