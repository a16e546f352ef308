"""The thinking of known model families, by the model's name or by vLLM's reasoning parser.

`profile_of("Qwen/Qwen3-8B")` and `profile_for_parser("qwen3")` give a `ThinkingProfile` with markers as text
only: `start` and `end` are empty, and an engine that knows the tokenizer fills them in with
`replace(profile, start=..., end=...)`. `closing` and `skip` hold the markers. `skip` opens thinking itself and closes
it at once; where the prompt has opened it already, `skip_text` leaves the opening out. A row states what the published
chat template of a family does: an engine that sees the template itself trusts that first.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from reasoner.models.thinking import ThinkingProfile
from reasoner.types import NO_THINKING, ThinkingLevel

Arguments = Mapping[str, str | int | bool]
AUTO: Final = "auto"
"""The reasoning parser that follows from the model."""
OFF: Final = ("", "none")
"""The reasoning parser of a model that does not think."""
NOTHING_TO_THINK: Final = "Okay, I think I have finished thinking."
"""Thinking in one sentence, which lets a model that always thinks answer at once (Ma et al. 2025, arXiv:2504.09858)."""
OUT_OF_TIME: Final = (
    "Considering the limited time by the user, I have to give the solution based on the thinking directly now."
)
"""The sentence with which Qwen's own documentation ends thinking that was cut."""


_CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("qwen3", "glm45", "glm47", "granite_thinking_parser", "ling3", "mimo", "minicpmv", "nemotron_v3",
                     "step3p5"), ("<tool_call>",)),
    "deepseek_v4": ("<｜DSML｜tool_calls>", "<｜DSML｜toolcalls>", "<｜DSML｜tool>"),
    "deepseek_v41": ("<｜DSML｜ calls>",),
    "cohere_command3": ("<|START_ACTION|>",),
    "cohere_command4": ("<|START_ACTION|>",),
    "gemma4": ("<|tool_call>",),
    "inkling": ("<|content_invoke_tool_json|>",),
    "k2_horizon": ("<ifm|tool_calls>",),
    "kimi_k2": ("<|tool_calls_section_begin|>",),
    "minimax_m2": ("<minimax:tool_call>",),
    "mistral": ("[TOOL_CALLS]",),
    "plamo3": ("<|plamo:begin_tool_requests:plamo|>",),
    "seed_oss": ("<seed:tool_call>",),
}  # fmt: skip
"""The texts that begin a call of a tool and so end thinking that is open, by the parser of vLLM that reads them so."""


class ModelFamily(NamedTuple):
    """Models that think alike: a pattern that their names match, in lower case, and their profile."""

    pattern: re.Pattern[str]
    profile: ThinkingProfile


def _family(
    pattern: str,
    parser: str,
    when: Literal["always", "on_request"],
    markers: tuple[str, str] = ("<think>", "</think>"),
    *,
    lead: str = "",
    closing: str = "",
    skip: str | None = None,
    levels: Mapping[str, Arguments] | None = None,
    also: tuple[tuple[str, str], ...] = (),
    voids: tuple[str, ...] | None = None,
) -> ModelFamily:
    """A row of the table; `lead` is the sentence before the closing marker of thinking that was cut.

    The parsers that end thinking at a call drop a closing marker that is written again.
    """
    start, end = markers
    calls = _CALLS.get(parser, ())
    voids = ((end,) if calls else ()) if voids is None else voids
    if skip is None:
        skip = f"{start}\n{NOTHING_TO_THINK}\n{end}\n\n" if when == "always" else f"{start}\n\n{end}\n\n"
    closing = closing or (f"\n\n{lead}" if lead else "") + f"\n{end}\n\n"
    profile = ThinkingProfile(when, (), (), start, end, closing, skip, levels or {}, parser, also, calls, voids)
    return ModelFamily(re.compile(pattern), profile)


def _switch(name: str) -> dict[str, Arguments]:
    """The levels of a template with one switch."""
    return {level: {name: level != "none"} for level in ("none", "low", "medium", "high")}


def _efforts(none: str = "", *, low: str = "low", medium: str = "medium", high: str = "high") -> dict[str, Arguments]:
    """The levels of a template with `reasoning_effort`."""
    given = {"none": none, "low": low, "medium": medium, "high": high}
    return {level: {"reasoning_effort": effort} for level, effort in given.items() if effort}


_EFFORTS_V4: Final[dict[str, Arguments]] = {
    "none": {"thinking": False},
    "low": {"thinking": True, "reasoning_effort": "low"},
    "medium": {"thinking": True, "reasoning_effort": "high"},
    "high": {"thinking": True, "reasoning_effort": "max"},
}
_FINAL_CHANNEL: Final = "<|channel|>final<|message|>"
_COMMAND_VOIDS: Final = (
    "<|END_THINKING|>",
    *(f"<|{edge}_{part}|>" for edge in ("START", "END") for part in ("RESPONSE", "TEXT")),
)
_NUMBER = r"[-_ :]?v?"
_OTHER_USE: Final = re.compile(
    r"(?<![a-z])(base|pre-?train\w*|pt|embed(ding)?s?|rerank(er)?|guard|asr|tts|captioner|mt)(?![a-z])|^qwq.*preview"
)
"""Names of models that are not trained to chat, or answer without thinking in markers."""
FAMILIES: Final[tuple[ModelFamily, ...]] = (
    # Distilled models carry the names of two families: the one that thinks comes first.
    _family(r"deepseek-reasoner|(?<![a-z])(tiny|open)?r1(?![\d])|\bqwq\b|openthinker|phi-4[-a-z]*-reasoning"
            r"|skywork-or1|deepscaler|deepcoder|magistral.*-2506|(nano|super|ultra)-\d+b-v1(?!\d)"
            r"|open(code|math)?(reasoning)?-nemotron|acereason|research-reasoning|glm-z1|glm-4\.1v.*thinking"
            r"|^ring-(?!3)|baichuan-m[23]|falcon-?h1r|^k2-think|intellect-[23]|vibethinker|nanbeige4\.1",
            "deepseek_r1", "always"),
    _family(rf"deepseek(-chat)?{_NUMBER}4\.1", "deepseek_v41", "on_request", levels=_EFFORTS_V4),
    _family(rf"deepseek(-chat)?{_NUMBER}4", "deepseek_v4", "on_request", levels=_EFFORTS_V4),
    _family(rf"deepseek(-chat)?{_NUMBER}3\.[1-9]", "deepseek_v3", "on_request", levels=_switch("thinking")),
    _family(r"gpt-?oss", "openai_gptoss", "always", ("<|channel|>analysis<|message|>", _FINAL_CHANNEL),
            closing=f"<|end|><|start|>assistant{_FINAL_CHANNEL}", skip=_FINAL_CHANNEL, levels=_efforts()),
    _family(r"qwen-?3.*thinking", "qwen3", "always", lead=OUT_OF_TIME),
    _family(r"qwen-?3(?!.*(instruct|coder|guard|embedding|reranker))", "qwen3", "on_request",
            lead=OUT_OF_TIME, levels=_switch("enable_thinking")),
    _family(rf"glm{_NUMBER}5\.3", "glm47", "always", levels=_efforts()),
    _family(rf"glm{_NUMBER}(4\.[5-9]|5)", "glm45", "on_request", levels=_switch("enable_thinking"),
            skip="<think></think>\n"),
    _family(r"kimi-(vl.*thinking|dev)", "", "always", ("◁think▷", "◁/think▷")),
    _family(r"kimi.*thinking", "kimi_k2", "always"),
    _family(r"kimi-?k2\.[5-9]", "kimi_k2", "on_request", levels=_switch("thinking"), skip="<think></think>"),
    _family(r"magistral|ministral.*reasoning", "mistral", "always", ("[THINK]", "[/THINK]"), closing="[/THINK]",
            skip=f"[THINK]{NOTHING_TO_THINK}[/THINK]"),
    _family(r"mistral-(small-4|medium-3[.-]5|large-4)", "mistral", "on_request", ("[THINK]", "[/THINK]"),
            closing="[/THINK]", skip="[THINK][/THINK]", levels=_efforts("none", low="high", medium="high")),
    _family(rf"gemma{_NUMBER}4(?!-e?\d+b(-a\d+b)?$)", "gemma4", "on_request", ("<|channel>thought\n", "<channel|>"),
            closing="\n<channel|>", skip="<|channel>thought\n<channel|>", levels=_switch("enable_thinking")),
    _family(r"seed-?oss", "seed_oss", "on_request", ("<seed:think>", "</seed:think>"),
            levels={"none": {"thinking_budget": 0}, "low": {"thinking_budget": 512},
                    "medium": {"thinking_budget": 4096}, "high": {"thinking_budget": -1}}),
    _family(r"minimax-?m3", "minimax_m3", "on_request", ("<mm:think>", "</mm:think>"), skip="<mm:think></mm:think>",
            levels={"none": {"thinking_mode": "disabled"}, "low": {"thinking_mode": "enabled"},
                    "medium": {"thinking_mode": "enabled"}, "high": {"thinking_mode": "enabled"}}),
    _family(r"minimax-?m[12]", "minimax_m2", "always"),
    _family(r"nemotron-?(3(?!\d)|nano-(v3|9b-v2|12b-v2))", "nemotron_v3", "on_request",
            levels=_switch("enable_thinking"), skip="<think></think>"),
    _family(r"granite-?4\.[2-9]", "granite_thinking_parser", "on_request", levels=_switch("enable_thinking"),
            also=(("", "</think>\n"), ("", "</think>\n\n"))),
    _family(r"granite-?3\.2", "granite", "on_request", ("Here is my thought process:", "Here is my response:"),
            levels=_switch("thinking"), closing="\n\nHere is my response:", skip="Here is my response:",
            also=(("Here's my thought process:", "Here's my response:"),)),
    _family(r"granite-?3\.3", "", "on_request", levels=_switch("thinking"),
            closing="\n</think>\n<response>\n", skip="<think>\n\n</think>\n<response>\n"),
    _family(r"apriel.*thinker", "", "always", ("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),
            closing="\n[BEGIN FINAL RESPONSE]\n",
            skip=f"Here are my reasoning steps:\n{NOTHING_TO_THINK}\n[BEGIN FINAL RESPONSE]\n"),
    *(_family(pattern, parser, "on_request", ("<|START_THINKING|>", "<|END_THINKING|>"), closing="<|END_THINKING|>",
              skip="<|START_THINKING|><|END_THINKING|>", levels=_switch("reasoning"), voids=_COMMAND_VOIDS,
              also=(("", "<|START_RESPONSE|>"), ("", "<|START_TEXT|>")))
      for pattern, parser in ((r"command-a-reasoning", "cohere_command3"), (r"cohere2-moe", "cohere_command4"))),
    _family(r"olmo-?3.*think", "olmo3", "always"),
    _family(r"ernie-?4\.5.*thinking", "ernie45", "always", also=(("", "</think>\n\n<response>"),),
            voids=("</response>", "</response>\n")),
    _family(r"hunyuan-?(a13b|0\.5b|1\.8b|4b|7b)(?!.*-0124)", "hunyuan_a13b", "on_request",
            levels=_switch("enable_thinking"), closing="\n</think>\n<answer>\n",
            skip="<think>\n\n</think>\n<answer>\n", also=(("<think>\n", "\n</think>\n<answer>\n"),),
            voids=("\n</answer>",)),
    _family(r"\bhy-?(v?4|4)\b", "hy_v4", "on_request", levels=_efforts("no_think")),
    _family(r"\bhy-?(v?3|3)\b", "hy_v3", "on_request", levels=_efforts("no_think", medium="high")),
    _family(r"step-?3\.5", "step3p5", "always"),
    _family(r"step-?3", "step3", "always"),
    _family(r"\bmimo", "mimo", "on_request", levels=_switch("enable_thinking"), skip="<think></think>"),
    _family(r"holo-?2", "holo2", "on_request", levels=_switch("thinking")),
    _family(r"\b(ring|ling)-?3", "ling3", "on_request", levels=_switch("enable_thinking")),
    _family(r"minicpm.*(4\.[15]|-o-4)", "minicpmv", "on_request", levels=_switch("enable_thinking")),
    _family(r"plamo-?3", "plamo3", "on_request", ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
            closing="<|plamo:end_think:plamo|>", levels=_switch("enable_thinking")),
    _family(r"k-exaone|exaone-moe", "deepseek_v3", "on_request", levels=_switch("enable_thinking")),
    _family(r"hermes-4", "qwen3", "on_request", levels=_switch("thinking")),
    _family(r"exaone-?4|smollm-?3|intern-?s1", "qwen3", "on_request", levels=_switch("enable_thinking")),
    _family(r"kimi-?k3", "kimi_k3", "on_request", ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
            closing="<|close|>think<|sep|><|open|>response<|sep|>",
            skip="<|open|>think<|sep|><|close|>think<|sep|><|open|>response<|sep|>",
            levels=_efforts("none", medium="high", high="max"), also=(("", "<|open|>response<|sep|>"),),
            voids=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>")),
    _family(r"k2-?horizon", "k2_horizon", "always", ("<ifm|think>", "</ifm|think>"), levels=_efforts(), voids=(),
            also=(("<ifm|think_fast>", "</ifm|think_fast>"), ("<ifm|think_faster>", "</ifm|think_faster>"))),
    _family(r"\binkling", "inkling", "always", ("<|content_thinking|>", "<|end_message|>"),
            closing="<|end_message|><|message_model|><|content_text|>", skip="<|content_text|>",
            also=(("<|message_model|><|content_thinking|>", "<|content_text|>"),),
            voids=("<|end_message|>", "<|message_model|>", "<|content_text|>", "<|content_model_end_sampling|>")),
    _family(r"muse-?glimmer", "muse_glimmer", "always", ("to=self<|message|>", "<|eom|>"),
            closing="<|eom|><|start|>assistant to=user<|message|>", skip=" to=user<|message|>",
            also=((" to=self<|message|>", " to=user<|message|>"),
                  ("<|start|>assistant to=self<|message|>", "to=user<|message|>")),
            voids=("<|start|>assistant to=user<|message|>", " to=user<|message|>", "to=user<|message|>", "<|eom|>",
                   "<|eot|>")),
    _family(r"\blaguna\b", "poolside_v1", "on_request", levels=_switch("enable_thinking")),
    _family(r"^s1(\.1)?-\d", "", "always", ("<|im_start|>think", "<|im_start|>answer"),
            closing="<|im_start|>answer\n", skip="<|im_start|>answer\n"),
    _family(r"exaone-deep", "", "always", ("<thought>", "</thought>")),
    _family(r"longcat.*thinking", "", "always", ("<longcat_think>", "</longcat_think>")),
    # Hosted models of OpenAI keep their thinking to themselves: only its tokens are counted.
    _family(r"^o[1-9](?!\d)(-|$)", "", "always", ("", ""), skip="", levels=_efforts()),
    _family(r"^gpt-5(-|$)", "", "always", ("", ""), skip="", levels=_efforts("minimal")),
    _family(r"^gpt-(5\.\d|[6-9])", "", "on_request", ("", ""), skip="", levels=_efforts("none")),
)  # fmt: skip
"""The known families; the first row that matches a name counts."""
GUESSED: Final = _family(
    r"(?<![^a-z]no)(?<!non)[-_](think|thinking|thinker|reasoning)(?![a-z])", "deepseek_r1", "always"
)
"""Names that say it, of a family that is not known: the common markers are most likely."""


def profile_of(name: str) -> ThinkingProfile | None:
    """How the model of this name thinks, its marker ids unknown; None where the name is of no family that thinks.

    `name` is a Hugging Face id, the path of a model or of its snapshot in a cache, or what a server calls it.
    """
    base = name.split("/snapshots/", maxsplit=1)[0].replace("--", "/").rstrip("/").rpartition("/")[2].lower()
    if _OTHER_USE.search(base):
        return None
    return next((family.profile for family in (*FAMILIES, GUESSED) if family.pattern.search(base)), None)


def profile_for_parser(parser: str) -> ThinkingProfile | None:
    """The profile of the models that vLLM reads with this reasoning parser; None where no family has it.

    Where models of the family differ, it is the profile of those with a choice in their chat template.
    """
    # This one splits alike, and hands on the thinking within the text.
    parser = parser.removesuffix("_append_think")
    rows = [family.profile for family in FAMILIES if parser and family.profile.parser == parser]
    return next((profile for profile in rows if profile.when == "on_request"), rows[0] if rows else None)


def on_request(profile: ThinkingProfile, switch: str) -> ThinkingProfile:
    """The profile of a model with a switch of this name in its chat template, which turns thinking off."""
    skip = f"{profile.start_text}\n\n{profile.end_text}\n\n"
    return replace(profile, when="on_request", skip=skip, levels=_switch(switch))


def parsers() -> tuple[str, ...]:
    """The names of the reasoning parsers in the table, in alphabetical order."""
    return tuple(sorted({family.profile.parser for family in FAMILIES if family.profile.parser}))


def template_arguments(profile: ThinkingProfile | None, level: ThinkingLevel | None) -> Arguments:
    """The arguments of the chat template for a thinking level; a number of tokens has those of "high"."""
    if profile is None or level is None:
        return {}
    return profile.levels.get(level if isinstance(level, str) else "high", {})


def skip_text(profile: ThinkingProfile | None, level: ThinkingLevel | None, *, opened: bool) -> str:
    """What follows a prompt at level "none" if the template cannot turn thinking off; `opened`: it opened thinking."""
    if profile is None or level != NO_THINKING or NO_THINKING in profile.levels:
        return ""
    return profile.skip.removeprefix(profile.start_text).lstrip("\n") if opened else profile.skip
