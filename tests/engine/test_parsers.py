"""Replies of all families against vLLM's own reasoning parsers, whatever a tokenizer makes of their marks."""

import asyncio
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from reasoner import Prompt, Question, SamplingParams, solve_sync
from reasoner.answers.tool_calls import ToolCall, ToolReply, read_calls
from reasoner.engines import ReplyParts
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.build import installed_build, prepare_environment
from reasoner.engines.vllm.engine import _in_parts
from reasoner.engines.vllm.parts import (
    SequencePrefix,
    ThinkingMarks,
    split_parts,
    with_calls,
)
from reasoner.models.families import parsers, profile_for_parser
from reasoner.models.thinking import HARMONY, ThinkingProfile
from reasoner.trace.events import Event, Sampled
from reasoner.types import Completion, Message, Usage
from reasoner_strategies import BudgetForcing, SelfConsistency
from tests.engine.test_families import small_tokenizer
from tests.engine.test_vllm import draw
from tests.engine.tiny_model import tiny_llama
from tests.sweeps import widths

MERGES: Final = (
    ("<", "/"),
    ("t", "h"),
    ("i", "n"),
    ("th", "in"),
    ("thin", "k"),
    ("Ċ", "Ċ"),
    (">", "Ċ"),
    (">", "ĊĊ"),
    (".", "</"),
    ("?", "</"),
    (":", "Ġ"),
    ("]", "Ċ"),
    ("7", "<"),
)
"""A tokenizer that joins marks with line breaks and full stops around them, so that no mark is always the same ids."""
ASKED: Final = {
    "deepseek_v3": {"thinking": True},
    "poolside_v1": {"thinking": True},
    "hy_v3": {"reasoning_effort": "high"},
}
"""Arguments of the chat template without which these parsers read no thinking."""
BOUNDARY_ONLY: Final = {HARMONY, "hf", "cohere_command3", "cohere_command4"}
"""Parsers that only say where thinking ends; what reads replies needs a download, a package or a tokenizer's template."""
WRAPPED: Final = [
    (
        "kimi_k3",
        "<|open|>think<|sep|>hm<|close|>think<|sep|><|open|>response<|sep|>It is 7.<|close|>response<|sep|>",
    ),
    (
        "kimi_k3",
        "<|open|>response<|sep|>It is 7.<|close|>response<|sep|><|close|>message<|sep|>",
    ),
    ("ernie45", "hm\n</think>\n\n<response>\nIt is 7.\n</response>\n"),
    ("hunyuan_a13b", "<think>\nhm\n</think>\n<answer>\nIt is 7.\n</answer>"),
    ("hunyuan_a13b", "<think>\nhm\n</think>\n<answer>\nIt is 7."),
    ("granite", "Here's my thought process: hm Here's my response: It is 7."),
    (
        "inkling",
        "<|content_thinking|>hm<|end_message|><|message_model|><|content_text|>It is 7.<|end_message|>",
    ),
    (
        "muse_glimmer",
        " to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>It is 7.<|eot|>",
    ),
    ("muse_glimmer", " to=user<|message|>It is 7.<|eot|>"),
]


@pytest.fixture(scope="module", autouse=True)
def _vllm() -> None:
    build = installed_build()
    assert build is not None
    prepare_environment(build)


def registered() -> list[str]:
    from vllm.reasoning import ReasoningParserManager

    return list(ReasoningParserManager.list_registered())


def profile_for(parser: str) -> ThinkingProfile:
    profile = profile_for_parser(parser)
    assert profile is not None
    return profile


@cache
def joining_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        *("".join(pair) for pair in MERGES),
    ]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: at for at, piece in enumerate(pieces)}, merges=list(MERGES)
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def marks_in(profile: ThinkingProfile) -> tuple[str, ...]:
    pairs = [(profile.start_text, profile.end_text), *profile.also]
    marks = (*sum(pairs, ()), *profile.calls, *profile.voids)
    # What has a blank is a sentence, and no token.
    return tuple(dict.fromkeys(text for text in marks if text and " " not in text))


def transcripts(profile: ThinkingProfile) -> list[tuple[bool, str]]:
    """Replies, and whether the prompt opened their thinking."""
    start, end = profile.start_text, profile.end_text
    return [
        (False, f"{start}Is it 12?\n{end}\n\nIt is 7."),
        (False, f"{start}Is it 12.{end}\nIt is 7."),
        (True, f"Is it 12?{end}\n\nIt is 7."),
        (True, "Is it 12?"),
        (False, f"{start}Is it 12?"),
        (False, f"{start}hm{end}The mark {end} closes.\n7"),
        *(
            (False, f"{start}I look.{call}\n7")
            for call in (*profile.calls, "<tool_call>", "[TOOL_CALLS]")
        ),
    ]


def split_reply(
    text: str, profile: ThinkingProfile, tokenizer: Any, *, opened: bool = False
) -> ReplyParts:
    """The parts of a reply. The token that holds the end of thinking is the last that counts as thinking."""
    ids = tuple(tokenizer.encode(text, add_special_tokens=False))
    parts = split_parts(
        ids,
        SequencePrefix((1,), 0, opened),
        ThinkingMarks.of(profile, tokenizer),
        tokenizer,
    )
    if parts.tokens and text.endswith(parts.final) and parts.final:
        assert parts.final.endswith(tokenizer.decode(ids[parts.tokens :]))
        assert not parts.final.endswith(tokenizer.decode(ids[parts.tokens - 1 :]))
    return parts


def read_by_vllm(
    parser: str, text: str, profile: ThinkingProfile, *, opened: bool
) -> tuple[str, str]:
    """What vLLM's parser makes of a reply: thinking, without blanks at its end, and content."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.reasoning import ReasoningParserManager

    arguments = ASKED.get(parser, {"thinking_mode": "enabled"} if opened else {})
    words = ("</", "Ġ</", "think", ">", "<assistant>", "<think>", "</think>")
    tokenizer = small_tokenizer((*marks_in(profile), *words), None)
    reader = ReasoningParserManager.get_reasoning_parser(parser)(
        tokenizer, chat_template_kwargs=arguments
    )
    request = ChatCompletionRequest(messages=[], model="m")
    # A parser that does not see the prompt is shown what it opened.
    thinking, content = reader.extract_reasoning(
        f"{profile.start_text}{text}" if opened else text, request
    )
    if parser == "step3":
        thinking = (thinking or "").removeprefix("<think>")
    return (thinking or "").rstrip(), content or ""


def test_every_parser_of_vllm_has_its_family() -> None:
    assert set(registered()) - {"hf", "minimax_m2_append_think"} <= set(parsers())
    assert profile_for_parser("minimax_m2_append_think") == profile_for_parser(
        "minimax_m2"
    )


@pytest.mark.parametrize("joined", [False, True])
def test_a_reply_is_split_as_by_the_parser_of_its_family(joined: bool) -> None:
    for parser in registered():
        if parser in BOUNDARY_ONLY:
            continue
        profile = profile_for(parser)
        tokenizer = (
            joining_tokenizer() if joined else small_tokenizer(marks_in(profile), None)
        )
        extra = [(False, text) for name, text in WRAPPED if name == parser]
        # What this one takes for content comes after a header.
        plain = [] if parser == "muse_glimmer" else transcripts(profile)
        for opened, text in [*plain, *extra]:
            thinking, content = read_by_vllm(parser, text, profile, opened=opened)
            if thinking or (opened, text) in extra:
                parts = split_reply(
                    text, replace(profile, start=(), end=()), tokenizer, opened=opened
                )
                assert (parts.thinking.rstrip(), parts.final) == (thinking, content), (
                    parser,
                    text,
                )
                assert parts.unclosed == (not content)


@pytest.mark.parametrize("parser", sorted(set(parsers()) - {HARMONY}))
def test_a_mark_in_an_answer_opens_no_thinking(parser: str) -> None:
    """Some parsers of vLLM think again there, and lose the rest of the answer."""
    profile = profile_for(parser)
    text = f"hm{profile.end_text}A {profile.start_text} opens. 7"
    parts = split_reply(text, profile, joining_tokenizer(), opened=True)
    assert (parts.thinking, parts.final, parts.unclosed) == (
        "hm",
        f"A {profile.start_text} opens. 7",
        False,
    )
    never = split_reply("It is 7.", profile, joining_tokenizer())
    assert never == ReplyParts("", "It is 7.", unclosed=False, tokens=0)


CHANNEL_MARKS: Final = tuple(
    f"<|{name}|>"
    for name in ("start", "end", "message", "channel", "return", "constrain", "call")
)
HEAD: Final = "<|channel|>analysis<|message|>hm"
NEXT: Final = "<|end|><|start|>assistant"
CALL: Final = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}"
CHANNELS: Final = [
    (f"{HEAD}{NEXT}<|channel|>final<|message|>7<|return|>", "hm", "7"),
    (f"{HEAD}{NEXT}<|channel|>final <|constrain|>json<|message|>7", "hm", "7"),
    (f"{HEAD}{NEXT}{CALL}<|call|>", "hm", ""),
    (
        f"{HEAD}{NEXT}<|channel|>commentary<|message|>I look.{NEXT}<|channel|>final<|message|>7",
        "hm",
        "I look.\n7",
    ),
    ("<|channel|>final<|message|>7", "", "7"),
    (f"{HEAD}{NEXT}", "hm", None),
    (HEAD, "hm", None),
]


@pytest.mark.parametrize(("text", "thinking", "final"), CHANNELS)
@pytest.mark.parametrize("special", [True, False])
def test_a_reply_of_gpt_oss_is_split_by_its_channels(
    text: str, thinking: str, final: str | None, special: bool
) -> None:
    """As vLLM's HarmonyParser reads them, which downloads a vocabulary."""
    tokenizer = small_tokenizer(CHANNEL_MARKS, None) if special else joining_tokenizer()
    parts = split_reply(text, profile_for(HARMONY), tokenizer)
    assert (parts.thinking, parts.final, parts.unclosed) == (
        thinking,
        final or "",
        final is None,
    )


TOOLS = json.dumps([{"type": "function", "function": {"name": "weather"}}])
PROMPT = Prompt((Message("user", "How warm is it in Oslo?"),), tools=TOOLS)
OSLO = ToolCall("weather", '{"city": "Oslo"}')
THOUGHT = "<|channel|>analysis<|message|>Oslo, then.<|end|>"


@pytest.fixture(scope="module")
def gpt_oss() -> tuple[Any, ThinkingMarks]:
    tokenizer = small_tokenizer(CHANNEL_MARKS, None)
    profile = profile_for(HARMONY)
    start, end = (
        ids_of(tokenizer, text) for text in (profile.start_text, profile.end_text)
    )
    return tokenizer, ThinkingMarks.of(
        replace(profile, start=start, end=end), tokenizer
    )


def ids_of(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def read(
    gpt_oss: tuple[Any, ThinkingMarks], text: str
) -> tuple[Completion, Completion]:
    """A reply as the engine has it before its calls are read, and after."""
    tokenizer, marks = gpt_oss
    ids, before = (
        ids_of(tokenizer, text),
        SequencePrefix(ids_of(tokenizer, "Hi"), 0, opened=False),
    )
    whole = _in_parts(
        Completion(PROMPT, "", ids, "length", None, Usage(2, 0, len(ids))),
        before,
        marks,
        tokenizer,
    )
    return whole, with_calls(whole, before, marks, tokenizer)


@pytest.mark.parametrize(
    "call",
    [
        '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}',
        '<|channel|>commentary to=functions.weather<|message|>{"city": "Oslo"}<|call|>',
    ],
)
def test_a_message_to_a_function_is_a_call_of_gpt_oss(
    gpt_oss: tuple[Any, ThinkingMarks], call: str
) -> None:
    whole, changed = read(gpt_oss, f"{THOUGHT}<|start|>assistant{call}")
    assert (whole.text, whole.unclosed) == ("", False)
    assert read_calls(changed.text) == ToolReply("", (OSLO,))
    assert (changed.thinking, changed.unclosed) == ("Oslo, then.", False)
    assert changed.usage == whole.usage
    assert changed.usage.thinking_tokens == len(ids_of(gpt_oss[0], THOUGHT))
    _, two = read(gpt_oss, f"{THOUGHT}<|start|>assistant{call}<|start|>assistant{call}")
    assert read_calls(two.text) == ToolReply("", (OSLO, OSLO))


@pytest.mark.parametrize(
    "text",
    [f"{THOUGHT}<|start|>assistant<|channel|>final<|message|>Warm.", THOUGHT[:40]],
)
def test_a_reply_without_a_call_stays_as_it_is(
    gpt_oss: tuple[Any, ThinkingMarks], text: str
) -> None:
    whole, changed = read(gpt_oss, text)
    assert changed == whole


TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
STORY: Final = Question.of("Write a long story about a ship and a storm.")


@pytest.fixture(scope="module")
def joining(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model with random weights that thinks between marks of plain text, which its tokenizer joins with others."""
    folder = tiny_llama(tmp_path_factory.mktemp("models") / "joining", embedded_model)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    unused = [
        token
        for token in tokenizer["added_tokens"]
        if token["content"] in ("<filename>", "<file_sep>")
    ]
    for token, pair in zip(unused, ((">", "ĊĊ"), (">", "Ċ")), strict=True):
        tokenizer["added_tokens"].remove(token)
        del vocabulary[token["content"]]
        vocabulary["".join(pair)] = token["id"]
        merges.append(list(pair))
    punctuation = {
        "type": "Split",
        "pattern": {"Regex": r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s+|\p{L}+|\p{N}"},
        "behavior": "Isolated",
        "invert": False,
    }
    bytes_only = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    tokenizer["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [punctuation, bytes_only],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    engine = VllmEngine(
        model_id=str(folder),
        max_model_len=1024,
        kv_gib=0.2,
        dtype="float32",
        reasoning_parser="deepseek_r1",
    )
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@widths(("count", "steps"), (18, 1), (64, 3))
def test_seeded_requests_survive_prefills_that_fill_the_step(
    joining: VllmEngine, count: int, steps: int
) -> None:
    """A split prefill of a seeded request ends vLLM's CPU core, so the engine never lets one be split."""
    prompts = [
        Prompt.chat(f"Note {n}. " + f"The item number {n} lies on shelf {n * 7}. " * 40)
        for n in range(count)
    ]
    params = SamplingParams(max_tokens=4)

    async def all_at_once() -> list[list[Completion]]:
        return await asyncio.gather(
            *(draw(joining, prompt, params, [n]) for n, prompt in enumerate(prompts))
        )

    drawn = [one for [one] in asyncio.run(all_at_once())]
    assert sum(one.usage.prompt_tokens for one in drawn) > steps * 8192
    assert all(one.usage.generated_tokens >= 1 for one in drawn)
    assert joining.restarts == 0


def sampled(engine: VllmEngine, strategy: Any) -> list[Sampled]:
    events: list[Event] = []
    solve_sync(STORY, strategy, engine, trace=events.append)
    return [event for event in events if isinstance(event, Sampled)]


def test_thinking_between_marks_of_text_is_closed_once(joining: VllmEngine) -> None:
    profile = joining.model.thinking
    assert profile is not None
    assert (profile.start, profile.end) == ((), ())
    closing = asyncio.run(joining.encode(profile.closing)) or ()
    assert asyncio.run(joining.encode("</think>")) != closing[1:-1]
    params = SamplingParams(
        temperature=1.0, max_tokens=96, thinking=20, logit_bias=((2, -100.0),)
    )
    for one in sampled(joining, SelfConsistency(n=4, params=params)):
        assert one.usage.generated_tokens == len(one.token_ids) == 96
        assert (one.usage.thinking_tokens, one.unclosed) == (20 + len(closing), False)
        assert one.token_ids[20 : 20 + len(closing)] == closing
        assert len(one.text.strip()) > 0
        assert "</think>" not in one.text
    forcing = BudgetForcing(
        max_thinking=24,
        min_thinking=12,
        answer_tokens=8,
        params=replace(params, thinking=None),
    )
    *thoughts, answer = sampled(joining, forcing)
    assert sum(one.usage.thinking_tokens for one in thoughts) == 24
    assert (answer.usage.thinking_tokens, answer.usage.generated_tokens) == (0, 8)
