"""Chats as token ids through vLLM's renderers, for tokenizers of several families that are built here."""

import copy
from pathlib import Path
from typing import Any

import pytest

from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.rendering import PromptRenderer
from reasoner.types import Message

CHAT = (Message("system", "Be brief."), Message("user", "What is 3 + 4?"))


@pytest.fixture
def config(engine: VllmEngine) -> Any:
    """VLLM's configuration of the embedded model, which a renderer reads some settings from."""
    return engine._core._engine.vllm_config  # type: ignore[union-attr]


@pytest.fixture
def tokenizer(embedded_model: Path) -> Any:
    """The embedded model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded_model)


def test_the_embedded_model_reads_what_its_template_writes(config: Any, tokenizer: Any) -> None:
    from vllm.renderers.hf import HfRenderer

    renderer = PromptRenderer(HfRenderer(config, tokenizer))
    written = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n"
    assert renderer.renders_chats
    assert renderer.decode(renderer.chat(CHAT, reply=False)) == written
    assert renderer.chat(CHAT) == renderer.encode(written + "<|im_start|>assistant\n")
    ids = (
        1,
        9690,
        198,
        6077,
        5453,
        30,
        2,
        198,
        1,
        4093,
        198,
        1780,
        314,
        216,
        35,
        1232,
        216,
        36,
        47,
        2,
        198,
        1,
        520,
        9531,
        198,
    )
    assert renderer.chat(CHAT) == ids


def test_a_model_without_a_template_says_so(config: Any, tokenizer: Any) -> None:
    from vllm.renderers.hf import HfRenderer

    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    renderer = PromptRenderer(HfRenderer(config, bare))
    assert not renderer.renders_chats
    assert renderer.raw("3 + 4") == renderer.encode("3 + 4") == tuple(tokenizer.encode("3 + 4"))


def test_deepseek_writes_a_chat_by_code(config: Any, tokenizer: Any) -> None:
    from vllm.renderers.deepseek_v32 import DeepseekV32Renderer
    from vllm.tokenizers.deepseek_v32 import get_deepseek_v32_tokenizer

    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    renderer = PromptRenderer(DeepseekV32Renderer(config, get_deepseek_v32_tokenizer(bare)))
    assert renderer.renders_chats
    text = renderer.decode(renderer.chat(CHAT))
    assert text == "<｜begin▁of▁sentence｜>Be brief.<｜User｜>What is 3 + 4?<｜Assistant｜></think>"


def test_mistral_writes_a_chat_straight_into_ids(config: Any) -> None:
    import mistral_common
    from mistral_common.protocol.instruct.validator import ValidationMode
    from transformers.tokenization_mistral_common import MistralCommonBackend
    from vllm.renderers.mistral import MistralRenderer
    from vllm.tokenizers.mistral import MistralTokenizer

    file = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    mistral = MistralTokenizer(MistralCommonBackend(tokenizer_path=str(file), mode=ValidationMode.test))
    assert not hasattr(mistral, "chat_template")
    renderer = PromptRenderer(MistralRenderer(config, mistral))
    assert renderer.renders_chats
    ids = renderer.chat(CHAT)
    begin, open_turn, close_turn = (mistral.convert_tokens_to_ids(mark) for mark in ("<s>", "[INST]", "[/INST]"))
    assert (ids[0], ids.count(begin), ids.count(open_turn), ids[-1]) == (begin, 1, 1, close_turn)
    assert "What is 3 + 4?" in renderer.decode(ids)
    assert renderer.raw("3 + 4")[0] == begin
    assert renderer.decode(renderer.encode("3 + 4")) == "3 + 4"
