"""Families of models that think: found by name, asked at a level, their transcripts split by the published markers."""

import pytest

from reasoner.engines.openai.parts import by_text
from reasoner.models.families import (
    FAMILIES,
    ModelFamily,
    on_request,
    parsers,
    profile_for_parser,
    profile_of,
    skip_text,
    template_arguments,
)

NAMES = """
qwen3 on_request: Qwen/Qwen3-8B qwen3:8b /cache/models--Qwen--Qwen3-8B/snapshots/0f Qwen/Qwen3-32B-AWQ Qwen/Qwen3-4B-SafeRL
    Qwen/Qwen3.5-397B-A17B Qwen/Qwen3.5-27B LGAI-EXAONE/EXAONE-4.0-32B HuggingFaceTB/SmolLM3-3B internlm/Intern-S1-mini
    NousResearch/Hermes-4-70B
qwen3 always: Qwen/Qwen3-30B-A3B-Thinking-2507 Qwen/Qwen3-Next-80B-A3B-Thinking Qwen/Qwen3-VL-8B-Thinking
deepseek_r1 always: deepseek-ai/DeepSeek-R1 deepseek-ai/DeepSeek-R1-0528-Qwen3-8B deepseek-ai/DeepSeek-R1-Distill-Llama-70B
    deepseek-reasoner Qwen/QwQ-32B Skywork/Skywork-OR1-32B Skywork/Skywork-R1V3-38B open-r1/OpenR1-Distill-7B
    qihoo360/TinyR1-32B-Preview perplexity-ai/r1-1776 microsoft/Phi-4-reasoning-plus microsoft/Phi-4-mini-flash-reasoning
    open-thoughts/OpenThinker3-7B agentica-org/DeepCoder-14B-Preview mistralai/Magistral-Small-2506
    nvidia/Llama-3.1-Nemotron-Nano-8B-v1 nvidia/Llama-3_3-Nemotron-Super-49B-v1_5 nvidia/Llama-3_1-Nemotron-Ultra-253B-v1
    nvidia/OpenReasoning-Nemotron-32B nvidia/OpenMath-Nemotron-7B nvidia/OpenCodeReasoning-Nemotron-14B
    nvidia/AceReason-Nemotron-14B nvidia/Nemotron-Research-Reasoning-Qwen-1.5B zai-org/GLM-Z1-32B-0414
    THUDM/GLM-Z1-Rumination-32B-0414 zai-org/GLM-4.1V-9B-Thinking inclusionAI/Ring-1T inclusionAI/Ring-flash-2.0
    inclusionAI/Ring-2.5-1T baichuan-inc/Baichuan-M2-32B tiiuae/Falcon-H1R-7B LLM360/K2-Think PrimeIntellect/INTELLECT-3
    WeiboAI/VibeThinker-1.5B a-m-team/AM-Thinking-v1 LiquidAI/LFM2.5-1.2B-Thinking Nanbeige/Nanbeige4-3B-Thinking-2511
    ai21labs/AI21-Jamba-Reasoning-3B
deepseek_v3 on_request: deepseek-ai/DeepSeek-V3.1 deepseek-ai/DeepSeek-V3.2-Exp LGAI-EXAONE/K-EXAONE-236B-A23B
deepseek_v4 on_request: DeepSeek-V4-Pro
openai_gptoss always: openai/gpt-oss-120b gpt-oss:20b openai/gpt-oss-safeguard-20b
glm45 on_request: zai-org/GLM-4.6 zai-org/GLM-4.5-Air zai-org/GLM-4.7-Flash zai-org/GLM-5
kimi_k2 always: moonshotai/Kimi-K2-Thinking
kimi_k2 on_request: moonshotai/Kimi-K2.5
mistral always: mistralai/Magistral-Small-2507 mistralai/Ministral-3-14B-Reasoning-2512
mistral on_request: mistralai/Mistral-Small-4-119B-2603
gemma4 on_request: google/gemma-4-31b-it google/gemma-4-26B-A4B-it google/gemma-4-E4B-it gemma4:31b gemma4
seed_oss on_request: ByteDance-Seed/Seed-OSS-36B-Instruct
minimax_m2 always: MiniMaxAI/MiniMax-M2 MiniMaxAI/MiniMax-M2.5 MiniMaxAI/MiniMax-M1-80k
nemotron_v3 on_request: nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16 nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8
    nvidia/NVIDIA-Nemotron-Nano-9B-v2 nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-BF16
granite on_request: ibm-granite/granite-3.2-8b-instruct
hunyuan_a13b on_request: tencent/Hunyuan-A13B-Instruct tencent/Hunyuan-4B-Instruct tencent/Hunyuan-7B-Instruct-AWQ-Int4
    tencent/Hunyuan-1.8B-Instruct
olmo3 always: allenai/Olmo-3-7B-Think allenai/Olmo-3.1-32B-Think
ernie45 always: baidu/ERNIE-4.5-21B-A3B-Thinking
cohere_command3 on_request: CohereLabs/command-a-reasoning-08-2025
step3 always: stepfun-ai/step3
step3p5 always: stepfun-ai/Step-3.5-Flash
mimo on_request: XiaomiMiMo/MiMo-V2-Flash
- on_request: ibm-granite/granite-3.3-8b-instruct
- always: o3-mini LGAI-EXAONE/EXAONE-Deep-32B ServiceNow-AI/Apriel-1.5-15b-Thinker ServiceNow-AI/Apriel-Nemotron-15b-Thinker
    simplescaling/s1.1-32B simplescaling/s1-32B moonshotai/Kimi-VL-A3B-Thinking-2506 moonshotai/Kimi-Dev-72B
    meituan-longcat/LongCat-Flash-Thinking
"""
"""Names of models by the parser that reads them and by when they think."""
PLAIN = """
HuggingFaceTB/SmolLM2-135M-Instruct Qwen/Qwen2.5-7B-Instruct Qwen/Qwen3-30B-A3B-Instruct-2507 Qwen/Qwen3-Coder-480B
Qwen/Qwen3-Embedding-8B Qwen/Qwen3-Reranker-4B Qwen/Qwen3Guard-Gen-8B Qwen/Qwen3-8B-Base Qwen/Qwen3.5-35B-A3B-Base
Qwen/Qwen3-Omni-30B-A3B-Captioner Qwen/Qwen3-ASR-1.7B Qwen/QwQ-32B-Preview deepseek-ai/DeepSeek-V3-0324
deepseek-ai/DeepSeek-V3.1-Base deepseek-ai/DeepSeek-V3.2-Exp-Base zai-org/glm-4-9b-chat zai-org/GLM-4-32B-0414
zai-org/GLM-4.5-Base moonshotai/Kimi-K2-Instruct moonshotai/Kimi-K2-Base moonshotai/Kimi-Linear-48B-A3B-Instruct
mistralai/Mistral-7B-Instruct-v0.3 mistralai/Ministral-3-8B-Instruct-2512 mistralai/Mistral-Large-3-675B-Instruct-2512
google/gemma-3-4b-it google/gemma-3-4b-pt google/gemma-4-31b google/gemma-4-E4B google/gemma-4-26B-A4B microsoft/phi-4
microsoft/Phi-4-mini-instruct meta-llama/Llama-3.1-8B-Instruct nvidia/Llama-3.1-Nemotron-70B-Instruct-HF
nvidia/NVIDIA-Nemotron-Nano-9B-v2-Base nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-Base-BF16 nvidia/Nemotron-4-340B-Instruct
nvidia/Nemotron-Mini-4B-Instruct tencent/Hunyuan-7B-Pretrain tencent/Hunyuan-A13B-Pretrain tencent/Hunyuan-MT-7B
tencent/Hunyuan-7B-Instruct-0124 inclusionAI/Ling-1T inclusionAI/Ling-flash-2.0 ibm-granite/granite-3.1-8b-instruct
ibm-granite/granite-4.0-h-small ibm-granite/granite-3.3-8b-base ServiceNow-AI/Apriel-5B-Instruct allenai/Olmo-3-1025-7B
allenai/Olmo-3-7B-Instruct LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct ByteDance-Seed/Seed-OSS-36B-Base-woSyn MiniMaxAI/MiniMax-Text-01
baidu/ERNIE-4.5-21B-A3B-PT CohereLabs/c4ai-command-a-03-2025 XiaomiMiMo/MiMo-7B-Base meituan-longcat/LongCat-Flash-Chat
LiquidAI/LFM2-1.2B grok-4-fast-non-reasoning mine-no-think qwen-nonthinking gpt-4o llama-r1000 /data/qwen3-experiments/llama rings1-7b
"""


def named() -> list[tuple[str, str, str]]:
    """Rows of a name, its parser and when it thinks."""
    rows = [line.split(": ", 1) for line in NAMES.strip().replace("\n    ", " ").splitlines()]
    return [(name, *kind.replace("-", "").split(" ")) for kind, names in rows for name in names.split()]  # type: ignore[misc]


@pytest.mark.parametrize(("name", "parser", "when"), named())
def test_a_model_is_of_the_family_that_its_name_says(name: str, parser: str, when: str) -> None:
    profile = profile_of(name)
    assert profile
    assert (profile.parser, profile.when) == (parser, when)


@pytest.mark.parametrize("name", ["", *PLAIN.split()])
def test_other_names_say_nothing_of_thinking(name: str) -> None:
    assert profile_of(name) is None


TRANSCRIPTS = [
    ("Qwen3-8B", "<think>\nIs it 12?\n</think>\n\nIt is 7."),
    ("Qwen3-30B-A3B-Thinking-2507", "Is it 12?\n</think>\n\nIt is 7."),
    ("DeepSeek-R1", "Is it 12?\n</think>\n\nIt is 7."),
    ("DeepSeek-V3.2", "Is it 12?</think>It is 7."),
    (
        "gpt-oss-20b",
        "<|channel|>analysis<|message|>Is it 12?<|end|><|start|>assistant<|channel|>final<|message|>It is 7.",
    ),
    ("Magistral-Small-2507", "[THINK]Is it 12?[/THINK]It is 7."),
    ("gemma-4-31b-it", "<|channel>thought\nIs it 12?<channel|>It is 7."),
    ("GLM-4.5", "\n<think>Is it 12?</think>\nIt is 7."),
    ("Kimi-K2-Thinking", "Is it 12?</think>It is 7."),
    ("Seed-OSS-36B-Instruct", "<seed:think>Is it 12?</seed:think>It is 7."),
    ("MiniMax-M2", "Is it 12?\n</think>\n\nIt is 7."),
    ("Hunyuan-A13B-Instruct", "<think>\nIs it 12?\n</think>\nIt is 7."),
    ("command-a-reasoning-08-2025", "<|START_THINKING|>Is it 12?<|END_THINKING|>It is 7."),
    ("granite-3.2-8b-instruct", "Here is my thought process: Is it 12? Here is my response: It is 7."),
    ("granite-3.2-8b-instruct", "Here's my thought process: Is it 12? Here's my response: It is 7."),
    ("Hunyuan-A13B-Instruct", "<think>\nIs it 12?\n</think>\n<answer>\nIt is 7.\n</answer>"),
    (
        "Kimi-K3",
        "<|open|>think<|sep|>Is it 12?<|close|>think<|sep|><|open|>response<|sep|>It is 7.<|close|>response<|sep|>",
    ),
    ("K2-Horizon", "<ifm|think_fast>Is it 12?</ifm|think_fast>It is 7."),
    (
        "Inkling",
        "<|message_model|><|content_thinking|>Is it 12?<|end_message|><|message_model|><|content_text|>It is 7.",
    ),
    ("Muse-Glimmer", " to=self<|message|>Is it 12?<|eom|><|start|>assistant to=user<|message|>It is 7.<|eot|>"),
    ("poolside/Laguna-S", "<think>Is it 12?</think>It is 7."),
    ("simplescaling/s1-32B", "<|im_start|>think\nIs it 12?\n<|im_start|>answer\nIt is 7."),
    ("simplescaling/s1.1-32B", "<|im_start|>think\nIs it 12?\n<|im_start|>answer\nIt is 7."),
]


@pytest.mark.parametrize(("name", "transcript"), TRANSCRIPTS)
def test_a_transcript_is_split_at_the_published_markers(name: str, transcript: str) -> None:
    profile = profile_of(name)
    assert profile
    parts = by_text(transcript, profile, opened=False, cut=False)
    assert (parts.thinking.strip(), parts.final.strip(), parts.unclosed) == ("Is it 12?", "It is 7.", False)
    # Cut within its thinking, it has no final part, whether the prompt opened the thinking or the model did.
    cut = transcript[: transcript.index("12")]
    started = cut.strip() != "Is it"
    thinking, *others = by_text(cut, profile, opened=not started, cut=True)
    assert (thinking.strip(), others) == ("Is it", ["", True, None])


def answer_in(final: str) -> str:
    return final.strip().removeprefix("<answer>").removeprefix("<response>").strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_closing_and_skipping_end_in_the_final_part(family: ModelFamily) -> None:
    profile = family.profile
    if not profile.end_text:
        return
    closed = by_text(f"{profile.start_text}Is it{profile.closing}7", profile, opened=False, cut=False)
    assert (answer_in(closed.final), closed.unclosed) == ("7", False)
    assert "Is it" in closed.thinking
    for opened in (False, True):
        skipped = by_text(
            skip_text(profile, "none", opened=opened) + "7" if "none" not in profile.levels else profile.skip + "7",
            profile,
            opened=opened,
            cut=False,
        )
        assert (answer_in(skipped.final), skipped.unclosed) == ("7", False)


def test_a_level_is_the_argument_that_the_template_knows() -> None:
    qwen, r1, oss = profile_of("Qwen3-8B"), profile_of("DeepSeek-R1"), profile_of("gpt-oss-20b")
    assert template_arguments(qwen, "none") == {"enable_thinking": False}
    assert template_arguments(qwen, 512) == template_arguments(qwen, "high") == {"enable_thinking": True}
    assert template_arguments(oss, "low") == {"reasoning_effort": "low"}
    assert template_arguments(r1, "low") == template_arguments(None, "low") == template_arguments(qwen, None) == {}
    assert skip_text(qwen, "none", opened=True) == skip_text(r1, "low", opened=True) == ""
    assert skip_text(r1, "none", opened=False).startswith("<think>\nOkay")
    assert skip_text(r1, "none", opened=True).startswith("Okay")
    assert skip_text(oss, "none", opened=False) == "<|channel|>final<|message|>"


def test_a_parser_names_the_family_with_a_choice() -> None:
    qwen = profile_for_parser("qwen3")
    assert qwen
    assert qwen.when == "on_request"
    assert profile_for_parser("") is None
    assert profile_for_parser("nothing") is None
    assert all(profile_for_parser(parser) for parser in parsers())
    r1 = profile_of("DeepSeek-R1")
    assert r1
    assert on_request(r1, "thinking").levels["none"] == {"thinking": False}
