"""Families of models that think: found by name, asked at a level, their transcripts split by the published markers."""

import pytest

from reasoner.engines.openai.parts import by_text
from reasoner.models.families import (
    FAMILIES,
    Family,
    on_request,
    parsers,
    profile_for_parser,
    profile_of,
    skip_text,
    template_arguments,
)

NAMES = [
    ("Qwen/Qwen3-8B", "qwen3", "on_request"),
    ("qwen3:8b", "qwen3", "on_request"),
    ("/cache/models--Qwen--Qwen3-8B/snapshots/0f", "qwen3", "on_request"),
    ("Qwen/Qwen3-30B-A3B-Thinking-2507", "qwen3", "always"),
    ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "deepseek_r1", "always"),
    ("Qwen/QwQ-32B", "deepseek_r1", "always"),
    ("deepseek-ai/DeepSeek-V3.2-Exp", "deepseek_v3", "on_request"),
    ("DeepSeek-V4-Pro", "deepseek_v4", "on_request"),
    ("openai/gpt-oss-120b", "openai_gptoss", "always"),
    ("zai-org/GLM-4.6", "glm45", "on_request"),
    ("zai-org/GLM-5", "glm45", "on_request"),
    ("moonshotai/Kimi-K2-Thinking", "kimi_k2", "always"),
    ("mistralai/Magistral-Small-2507", "mistral", "always"),
    ("google/gemma-4-31b-it", "gemma4", "on_request"),
    ("ByteDance-Seed/Seed-OSS-36B-Instruct", "seed_oss", "on_request"),
    ("MiniMaxAI/MiniMax-M2", "minimax_m2", "always"),
    ("o3-mini", "", "always"),
]
PLAIN = [
    "HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "Qwen/Qwen3-Coder-480B", "Qwen/Qwen3-Embedding-8B", "deepseek-ai/DeepSeek-V3-0324", "zai-org/glm-4-9b-chat",
    "moonshotai/Kimi-K2-Instruct", "mistralai/Mistral-7B-Instruct-v0.3", "google/gemma-3-4b-it", "microsoft/phi-4",
    "meta-llama/Llama-3.1-8B-Instruct", "/data/qwen3-experiments/llama", "gpt-4o", "llama-r1000", "",
]  # fmt: skip


@pytest.mark.parametrize(("name", "parser", "when"), NAMES)
def test_a_model_is_of_the_family_that_its_name_says(name: str, parser: str, when: str) -> None:
    profile = profile_of(name)
    assert profile
    assert (profile.parser, profile.when) == (parser, when)


@pytest.mark.parametrize("name", PLAIN)
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
    begun = cut.strip() != "Is it"
    thinking, *others = by_text(cut, profile, opened=not begun, cut=True)
    assert (thinking.strip(), others) == ("Is it", ["", True, None])


@pytest.mark.parametrize("family", FAMILIES)
def test_closing_and_skipping_end_in_the_final_part(family: Family) -> None:
    profile = family.profile
    if not profile.end_text:
        return
    closed = by_text(f"{profile.start_text}Is it{profile.closing}7", profile, opened=False, cut=False)
    assert (closed.final.strip().removeprefix("<answer>").strip(), closed.unclosed) == ("7", False)
    assert "Is it" in closed.thinking
    for opened in (False, True):
        skipped = by_text(
            skip_text(profile, "none", opened=opened) + "7" if "none" not in profile.levels else profile.skip + "7",
            profile,
            opened=opened,
            cut=False,
        )
        assert (skipped.final.strip().removeprefix("<answer>").strip(), skipped.unclosed) == ("7", False)


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
