"""Calls of tools in the forms of families whose markers are tokens, read by vLLM's parsers."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from reasoner.answers.tool_calls import Calls, ToolCall, read_calls
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.build import installed_build, prepare_environment
from reasoner.engines.vllm.engine import _in_parts
from reasoner.engines.vllm.parts import Before, CallReader, Marks, decode
from reasoner.errors import UnknownName, UsageError
from reasoner.models.families import profile_for_parser
from reasoner.types import Completion, Message, Prompt, SamplingParams, Usage
from tests.engine.test_families import THINK, small_tokenizer

TOOLS = json.dumps([
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"city": {}}}}}
    for name in ("weather", "add")
])  # fmt: skip
PROMPT = Prompt((Message("user", "How warm is it in Oslo?"),), tools=TOOLS)
OSLO = ToolCall("weather", '{"city": "Oslo"}')
FORMS = {
    "mistral": (
        ("[TOOL_CALLS]", "[ARGS]"),
        'I look.[TOOL_CALLS]weather{"city": "Oslo"}',
        "I look.",
    ),
    "deepseek_v3": (
        (
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁calls▁end｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁sep｜>",
        ),
        """I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather
```json
{"city": "Oslo"}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜>""",
        "I look.",
    ),
}
HARMONY = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|constrain|>", "<|call|>")


@pytest.fixture(scope="module", autouse=True)
def _vllm() -> None:
    build = installed_build()
    assert build is not None
    prepare_environment(build)


def ids_of(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def reply(tokenizer: Any, text: str, marks: Marks | None = None) -> tuple[Completion, Before]:
    """The completion as the engine has it before calls are read."""
    ids, before = ids_of(tokenizer, text), Before(ids_of(tokenizer, "Hi"), 0, opened=False)
    whole = Completion(PROMPT, decode(ids, before.token_ids, tokenizer), ids, "length", None, Usage(2, 0, len(ids)))
    return (_in_parts(whole, before, marks, tokenizer) if marks else whole), before


@pytest.mark.parametrize("name", FORMS)
def test_calls_are_read_in_the_form_of_a_family(name: str) -> None:
    markers, text, said = FORMS[name]
    tokenizer = small_tokenizer(markers, None)
    reader = CallReader.of(name, tokenizer, None)
    assert reader is not None
    found = read_calls(reader.rewritten(*reply(tokenizer, text)).text)
    assert found is not None
    assert found.text == said
    assert [(call.name, json.loads(call.arguments)) for call in found.calls] == [("weather", {"city": "Oslo"})]
    for other in ("It is warm.", "", markers[0], text[: len(text) // 2], text + markers[0]):
        completion, before = reply(tokenizer, other)
        changed = reader.rewritten(completion, before)
        assert changed.token_ids == completion.token_ids
        assert changed.text == completion.text or read_calls(changed.text) is not None


def test_calls_after_thinking_are_read_from_the_final_part() -> None:
    markers, text, _ = FORMS["deepseek_v3"]
    tokenizer = small_tokenizer((*markers, *THINK), None)
    profile = profile_for_parser("deepseek_r1")
    assert profile is not None
    start, end = (tuple(tokenizer.convert_tokens_to_ids([marker])) for marker in THINK)
    marks = Marks(replace(profile, start=start, end=end))
    reader = CallReader.of("deepseek_v3", tokenizer, marks)
    assert reader is not None
    completion = reader.rewritten(*reply(tokenizer, f"<think>{text}</think>{text}", marks))
    found = read_calls(completion.text)
    assert found is not None
    assert (found.text, len(found.calls)) == ("I look.", 1)
    assert "weather" in completion.thinking
    unclosed, before = reply(tokenizer, f"<think>{text}", marks)
    assert reader.rewritten(unclosed, before) == unclosed


@pytest.fixture
def gpt_oss() -> tuple[Any, Marks]:
    tokenizer = small_tokenizer(HARMONY, None)
    profile = profile_for_parser("openai_gptoss")
    assert profile is not None
    start, end = (ids_of(tokenizer, text) for text in (profile.start_text, profile.end_text))
    return tokenizer, Marks.of(replace(profile, start=start, end=end), tokenizer)


@pytest.mark.parametrize(
    "call",
    [
        '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}',
        '<|channel|>commentary to=functions.weather<|message|>{"city": "Oslo"}<|call|>',
    ],
)
@pytest.mark.parametrize("name", ["auto", "openai"])
def test_a_message_to_a_function_is_a_call_of_gpt_oss(gpt_oss: tuple[Any, Marks], call: str, name: str) -> None:
    tokenizer, marks = gpt_oss
    reader = CallReader.of(name, tokenizer, marks)
    assert reader is not None
    thought = "<|channel|>analysis<|message|>Oslo, then.<|end|>"
    completion, before = reply(tokenizer, f"{thought}<|start|>assistant{call}", marks)
    assert (completion.text, completion.unclosed) == ("", False)
    changed = reader.rewritten(completion, before)
    assert read_calls(changed.text) == Calls("", (OSLO,))
    assert (changed.thinking, changed.unclosed) == ("Oslo, then.", False)
    assert changed.usage.thinking_tokens == len(ids_of(tokenizer, thought))
    assert changed.usage.generated_tokens == completion.usage.generated_tokens
    two, before = reply(tokenizer, f"{thought}<|start|>assistant{call}<|start|>assistant{call}", marks)
    assert read_calls(reader.rewritten(two, before).text) == Calls("", (OSLO, OSLO))
    plain, before = reply(tokenizer, f"{thought}<|start|>assistant<|channel|>final<|message|>Warm.", marks)
    assert reader.rewritten(plain, before) == plain


def test_the_engine_reads_calls_by_the_parser_of_its_model(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    call = {"type": "object", "properties": {"name": {"const": "add"}, "arguments": {"const": {"a": 1}}}}
    items = call | {"required": ["name", "arguments"], "additionalProperties": False}
    schema = json.dumps({"type": "array", "items": items, "minItems": 1, "maxItems": 1})
    tokenizer = engine._prompts.text.tokenizer
    monkeypatch.setattr(engine, "_calls", CallReader.of("xlam", tokenizer, None))

    async def draw(prompt: Prompt) -> Completion:
        params = SamplingParams(max_tokens=60, temperature=0.0, json_schema=schema)
        return await engine.sample(SampleRequest("q", prompt, await engine.render(prompt), params, 0, 7))

    called, plain = (asyncio.run(draw(prompt)) for prompt in (PROMPT, Prompt(PROMPT.messages)))
    found = read_calls(called.text)
    assert found is not None
    assert called.text.startswith("<tool_call>")
    assert [(each.name, json.loads(each.arguments)) for each in found.calls] == [("add", {"a": 1})]
    assert plain.text.lstrip().startswith("[")


def test_a_parser_that_does_not_fit_is_refused_in_one_line() -> None:
    tokenizer = small_tokenizer((), None)
    assert CallReader.of("auto", tokenizer, None) is None
    with pytest.raises(UnknownName, match="no tool call parser named 'mistrall'"):
        CallReader.of("mistrall", tokenizer, None)
    for name in ("openai", "mistral"):
        with pytest.raises(UsageError, match=f"tool_call_parser={name} does not fit this model's tokenizer"):
            CallReader.of(name, tokenizer, None)
