"""Which part of a text was only thought: it is never read for an answer."""

import re

TAIL = 20_000
"""Characters at the end of a text that are searched for an answer."""

_NAMES = "think|thinking|thoughts?|reasoning|reflection|scratch_?pad|analysis|seed:think|o1_thinking|inner_monologue"
_OPENING = (
    rf"<(?:{_NAMES})>|\[THINK\]|<\|(?:begin_of_thought|START_THINKING|inner_prefix)\|>|<unused94>"
    r"|<\|channel>thought|\u25c1think\u25b7|Here is my thought process:"
)
_CLOSING = (
    rf"</(?:{_NAMES})>|\[/THINK\]|<\|(?:end_of_thought|END_THINKING|inner_suffix)\|>|<unused95>"
    r"|<channel\|>|\u25c1/think\u25b7|Here is my response:"
)
_MARK = re.compile(rf"(?P<opening>{_OPENING})|{_CLOSING}")
# The channels of gpt-oss (harmony). Servers that drop special tokens leave only the names of the channels.
_CHANNEL = re.compile(r"<\|channel\|>\s*+(\w++)[^<>]{0,80}(?:<\|constrain\|>\s*+\w++\s*+)?<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_BARE_ANALYSIS = re.compile(r"\s*+analysis(?![a-z\s:])")
_BARE_FINAL = "assistantfinal"


def final_segment(text: str) -> str | None:
    """The last part of a text that was not only thought; None if thinking did not end."""
    if "<|channel|>" in text:
        return _final_channel(text)
    if text.find("analysis", 0, 40) >= 0 and _BARE_ANALYSIS.match(text):
        _, final, segment = text.rpartition(_BARE_FINAL)
        return segment[-TAIL:] if final else None
    return _unthought(text)


def _unthought(text: str) -> str | None:
    """The text after the last thinking; if that is blank, the text before it, if it is known where it began."""
    if not ("<" in text or "[" in text or "\u25c1" in text or "Here is my" in text):
        return text[-TAIL:]
    start = end = 0
    opened = False
    parts: list[str] = []
    for mark in _MARK.finditer(text):
        if mark["opening"]:
            if not opened:
                end = mark.start()
            opened = True
            continue
        # Everything before a closing mark alone was thought: the prompt opened it.
        parts = [*parts[-1:], text[start:end]] if opened else []
        start, opened = mark.end(), False
    if opened:
        return None
    after = text[start:]
    if parts and not after.strip():
        after = next((part for part in reversed(parts) if part.strip()), after)
    return after[-TAIL:]


def _final_channel(text: str) -> str | None:
    """The last message on the channel `final`."""
    final = None
    for channel in _CHANNEL.finditer(text):
        if channel[1] == "final":
            final = channel
    if final is None:
        return None
    end = _CHANNEL_END.search(text, final.end())
    return text[final.end() : end.start() if end else len(text)][-TAIL:]
