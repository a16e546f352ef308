"""Six families of models that think: their profile, and what their templates render.

The tokenizers are built here: bytes and the published marker strings. The templates are the published ones, shortened
to the turns of user and assistant; DeepSeek-V3.2 and Mistral render by code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from reasoner.engines.vllm.build import installed_build, prepare_environment
from reasoner.engines.vllm.rendering import PromptRenderer
from reasoner.models.families import Arguments
from reasoner.models.probing import find_profile
from reasoner.models.thinking import ThinkingProfile
from reasoner.types import Message

CHAT: Final = (Message("user", "Hi"),)
THINK: Final = ("<think>", "</think>")

QWEN3 = (
    "{%- for message in messages %}{%- set content = message.content %}"
    "{%- if message.role == 'assistant' %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}{%- endif %}"
)
DEEPSEEK_R1 = (
    "{{ '<｜begin▁of▁sentence｜>' }}{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{'<｜User｜>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor -%}"
    "{% if add_generation_prompt %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"
)
GPT_OSS = (
    "{%- if reasoning_effort is not defined %}{%- set reasoning_effort = 'medium' %}{%- endif %}"
    "{{- '<|start|>system<|message|>You are ChatGPT.\\n\\nReasoning: ' + reasoning_effort + '\\n\\n"
    "# Valid channels: analysis, commentary, final.<|end|>' }}{%- for message in messages %}"
    "{%- if message.role == 'assistant' %}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}"
    "{%- else %}{{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}{%- endif %}"
    "{%- endfor %}{%- if add_generation_prompt %}<|start|>assistant{%- endif %}"
)
GEMMA4 = (
    "{{- '<bos>' }}{%- if enable_thinking | default(false) %}{{- '<|turn>system\\n<|think|>\\n<turn|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}"
    "{{- message.content.split('<channel|>')[-1] | trim }}{{- '<turn|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|turn>model\\n' }}"
    "{%- if not enable_thinking | default(false) %}{{- '<|channel>thought\\n<channel|>' }}{%- endif %}{%- endif %}"
)


@dataclass(frozen=True, slots=True)
class Case:
    """A family: its model's name, what its tokenizer and template are, and what is expected."""

    name: str
    template: str
    added: tuple[str, ...]
    when: str
    parser: str
    rendered: dict[str, str]
    """The end of a chat at each level; "" is the model's default."""
    opens: bool


CASES: Final = (
    Case(
        "Qwen/Qwen3-8B",
        QWEN3,
        ("<|im_start|>", "<|im_end|>", *THINK),
        "on_request",
        "qwen3",
        {
            "": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            "high": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            "none": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        },
        False,
    ),
    Case(
        "deepseek-ai/DeepSeek-R1",
        DEEPSEEK_R1,
        (
            "<｜begin▁of▁sentence｜>",
            "<｜end▁of▁sentence｜>",
            "<｜User｜>",
            "<｜Assistant｜>",
            *THINK,
        ),
        "always",
        "deepseek_r1",
        {
            "": "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n",
            "low": "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n",
        },
        True,
    ),
    Case(
        "openai/gpt-oss-20b",
        GPT_OSS,
        ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"),
        "always",
        "openai_gptoss",
        {
            "": "Reasoning: medium\n\n# Valid channels: analysis, commentary, final.<|end|><|start|>user<|message|>Hi<|end|>"
            "<|start|>assistant",
            "low": "Reasoning: low\n\n# Valid channels: analysis, commentary, final.<|end|><|start|>user<|message|>Hi<|end|>"
            "<|start|>assistant",
        },
        False,
    ),
    Case(
        "google/gemma-4-12b-it",
        GEMMA4,
        ("<bos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>"),
        "on_request",
        "gemma4",
        {
            "": "<bos><|turn>user\nHi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>",
            "none": "<bos><|turn>user\nHi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>",
            "high": "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n",
        },
        False,
    ),
)
by_family = pytest.mark.parametrize("case", CASES, ids=lambda case: case.parser)


@pytest.fixture(scope="module")
def config(embedded_model: Path) -> Any:
    """VLLM's configuration of the embedded model, which a renderer reads some settings from; no engine is started."""
    build = installed_build()
    assert build is not None
    prepare_environment(build)
    from vllm.engine.arg_utils import AsyncEngineArgs

    return AsyncEngineArgs(
        model=str(embedded_model), max_model_len=2048, dtype="float32"
    ).create_engine_config()


def small_tokenizer(added: tuple[str, ...], template: str | None) -> Any:
    """A tokenizer whose tokens are bytes, and the added ones; markers of `<think>` are not special, as in Qwen3."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(text, special=text not in THINK, normalized=False)
            for text in added
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)


def renderer_of(config: Any, case: Case) -> PromptRenderer:
    from vllm.renderers.hf import HfRenderer

    return PromptRenderer(
        HfRenderer(config, small_tokenizer(case.added, case.template))
    )


def profile_of_case(
    renderer: PromptRenderer, name: str, model_type: str = ""
) -> ThinkingProfile:
    profile = find_profile(name, model_type, renderer.reader)
    assert profile is not None
    return profile


def arguments_of(profile: ThinkingProfile, level: str) -> Arguments:
    return profile.levels.get(level, {}) if level else {}


@by_family
def test_the_profile_of_a_family_is_found_by_its_name(config: Any, case: Case) -> None:
    renderer = renderer_of(config, case)
    profile = profile_of_case(renderer, case.name)
    assert (profile.when, profile.parser) == (case.when, case.parser)
    assert renderer.decode(profile.start) == profile.start_text
    assert renderer.decode(profile.end) == profile.end_text
    assert profile.end_text in profile.closing
    assert profile.end_text in profile.skip


@by_family
def test_without_its_name_a_model_is_seen_to_think(config: Any, case: Case) -> None:
    renderer = renderer_of(config, case)
    profile = profile_of_case(
        renderer, "/models/mine", "gpt_oss" if case.parser == "openai_gptoss" else ""
    )
    named = profile_of_case(renderer, case.name)
    assert (profile.when, profile.start, profile.end) == (
        named.when,
        named.start,
        named.end,
    )
    assert profile.levels == named.levels


@by_family
def test_a_chat_is_rendered_at_each_level(config: Any, case: Case) -> None:
    renderer = renderer_of(config, case)
    profile = profile_of_case(renderer, case.name)
    for level, expected in case.rendered.items():
        assert renderer.decode(
            renderer.chat(CHAT, arguments_of(profile, level))
        ).endswith(expected)
    assert renderer.reader.opens(profile, CHAT, {}) == case.opens
    hostile = (
        Message(
            "user", f"{profile.start_text} {profile.end_text} {profile.start_text}"
        ),
    )
    assert renderer.reader.opens(profile, hostile, {}) == case.opens


def test_a_template_that_knows_no_thinking_is_of_a_model_that_does_not_think(
    config: Any,
) -> None:
    """Qwen3-Instruct has the markers in its tokenizer, and copies what earlier turns hold."""
    plain = QWEN3.replace(".split('</think>')[-1].lstrip('\\n')", "").replace(
        "is false", "is false and false"
    )
    case = Case(
        "/models/mine", plain, ("<|im_start|>", "<|im_end|>", *THINK), "", "", {}, False
    )
    assert (
        find_profile("/models/mine", "qwen3", renderer_of(config, case).reader) is None
    )
    assert (
        find_profile(
            "Qwen/Qwen3-4B-Instruct-2507", "qwen3", renderer_of(config, case).reader
        )
        is None
    )


def test_deepseek_v32_opens_thinking_where_it_is_asked_to(config: Any) -> None:
    from vllm.renderers.deepseek_v32 import DeepseekV32Renderer
    from vllm.tokenizers.deepseek_v32 import get_deepseek_v32_tokenizer

    bare = small_tokenizer(
        ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", *THINK), None
    )
    renderer = PromptRenderer(
        DeepseekV32Renderer(config, get_deepseek_v32_tokenizer(bare))
    )
    profile = profile_of_case(renderer, "deepseek-ai/DeepSeek-V3.2", "deepseek_v32")
    assert (profile.when, profile.parser) == ("on_request", "deepseek_v3")
    assert renderer.decode(renderer.chat(CHAT, profile.levels["none"])).endswith(
        "<｜Assistant｜></think>"
    )
    assert renderer.decode(renderer.chat(CHAT, profile.levels["high"])).endswith(
        "<｜Assistant｜><think>"
    )
    assert not renderer.reader.opens(profile, CHAT, profile.levels["none"])
    assert renderer.reader.opens(profile, CHAT, profile.levels["high"])


def test_text_that_continues_a_reply_gets_no_blank_from_its_tokenizer(
    config: Any,
) -> None:
    """Tokenizers of Llama 2 and of the first Mistrals put a blank before the first word of any text."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast
    from vllm.renderers.hf import HfRenderer

    pieces = ["<unk>", "▁", "\n", *"abcxyz", "▁a", "ab"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: at for at, piece in enumerate(pieces)},
            merges=[("▁", "a"), ("a", "b")],
            unk_token="<unk>",
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    renderer = PromptRenderer(
        HfRenderer(config, PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    )
    assert renderer.decode(renderer.encode("abc")) == " abc"
    assert renderer.decode(renderer.after("abc")) == "abc"
    assert renderer.decode(renderer.after(" abc")) == " abc"
    assert renderer.decode(renderer.after("\nabc")) == "\nabc"
