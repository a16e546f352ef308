"""How a model thinks, as read from the files of its folder."""

import json
from pathlib import Path

import pytest

from reasoner.models.thinking_files import read_profile

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content CUT }}<|im_end|>\n{% endfor %}"
CUT = TURNS.replace("CUT", ".split('</think>')[-1]")
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\nOPEN{% endif %}"
SWITCH = "{% if enable_thinking is false %}<think></think>{% endif %}"
EFFORT = "{% if reasoning_effort == 'max' %}{{ raise_exception('no such effort') }}{% endif %}{{ reasoning_effort }}"


def model(
    folder: Path, template: str | None, *, added: tuple[str, ...] = ("<think>", "</think>"), **config: str
) -> Path:
    tokens = [{"id": 100 + at, "content": text} for at, text in enumerate(("<|im_start|>", "<|im_end|>", *added))]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    (folder / "config.json").write_text(json.dumps(config))
    if template is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, "bos_token": None}))
    return folder


@pytest.mark.parametrize(
    ("template", "when", "levels"),
    [
        (CUT + PROMPT.replace("OPEN", "<think>\n"), "always", []),
        (CUT + PROMPT.replace("OPEN", ""), "always", []),
        (CUT + PROMPT.replace("OPEN", SWITCH), "on_request", ["none", "low", "medium", "high"]),
        (CUT + PROMPT.replace("OPEN", EFFORT), "always", ["low", "medium", "high"]),
        (TURNS.replace("CUT", "") + PROMPT.replace("OPEN", "<think>\n"), "always", []),
        (TURNS.replace("CUT", "") + PROMPT.replace("OPEN", ""), None, None),
        ("{% broken", None, None),
    ],
)
def test_a_model_of_no_known_name_thinks_as_its_template_shows(
    tmp_path: Path, template: str, when: str | None, levels: list[str] | None
) -> None:
    profile = read_profile(model(tmp_path, template), "mine")
    assert (profile and profile.when) == when
    assert (list(profile.levels) if profile else None) == levels
    if profile:
        assert (profile.start, profile.end) == ((102,), (103,))


@pytest.mark.parametrize(
    ("name", "template", "added", "when", "start"),
    [
        ("deepseek-ai/DeepSeek-V3.1", TURNS.replace("CUT", "") + PROMPT.replace("OPEN", ""), True, None, None),
        ("granite-3.2-mine", CUT + PROMPT.replace("OPEN", "<think>\n"), True, "always", "<think>"),
        ("granite-3.2-8b", TURNS.replace("CUT", "") + "{{ thinking }}", False, "on_request", "Here is my thought process:"),
        ("DeepSeek-R1-mine", CUT + PROMPT.replace("OPEN", SWITCH), True, "on_request", "<think>"),
        ("mine-thinking", TURNS.replace("CUT", ""), True, None, None),
        ("Olmo-3-7B-Think", TURNS.replace("CUT", ""), False, "always", "<think>"),
    ],
)  # fmt: skip
def test_what_template_and_tokenizer_show_goes_before_a_name(
    tmp_path: Path, name: str, template: str, added: bool, when: str | None, start: str | None
) -> None:
    profile = read_profile(model(tmp_path, template, added=("<think>", "</think>") if added else ()), name)
    assert (profile and profile.when, profile and profile.start_text) == (when, start)


def test_a_tokenizer_without_markers_is_of_a_model_that_does_not_think(tmp_path: Path) -> None:
    template = CUT + PROMPT.replace("OPEN", "<think>\n")
    assert read_profile(model(tmp_path, template, added=()), "mine") is None


def test_a_model_that_renders_by_code_is_known_by_its_name(tmp_path: Path) -> None:
    folder = model(tmp_path, None)
    assert read_profile(folder, "mine") is None
    profile = read_profile(folder, "deepseek-ai/DeepSeek-V3.2")
    assert profile is not None
    assert profile.levels["none"] == {"thinking": False}
