"""Which part of a text was only thought: it is never read for an answer."""

import re

TAIL = 20_000
"""Characters at the end of a text that are searched for an answer."""

_NAMES = (
    "think|thinking|thoughts?|reasoning|reflection|scratch_?pad|analysis|(?:seed|mm):think|o1_thinking|inner_monologue"
    r"|ifm\|think(?:_fast|_faster)?"
)
_WORDS = r"begin_of_thought|START_THINKING|inner_prefix|content_thinking|plamo:begin_think:plamo"
_ENDINGS = (
    r"end_of_thought|END_THINKING|inner_suffix|content_text|plamo:end_think:plamo"
)
_OPENED, _CLOSED = rf"(?i:(?:{_NAMES})>)", rf"(?i:/(?:{_NAMES})>)"
_MARKS = [
    (sign, re.compile(rf"{re.escape(sign)}(?:(?P<opening>{opening})|{closing})"))
    for sign, opening, closing in (
        (
            "<",
            rf"(?=[|\w])(?:{_OPENED}|\|(?:{_WORDS})\|>|unused94>|\|open\|>think<\|sep\|>|\|channel>thought|\|im_start\|>think\b)",
            rf"(?=[/|uUcC])(?:{_CLOSED}|\|(?:{_ENDINGS})\|>|unused95>|\|close\|>think<\|sep\|>|channel\|>|\|im_start\|>answer\b)",
        ),
        ("[", r"THINK\]", r"/THINK\]|BEGIN FINAL RESPONSE\]"),
        ("\u25c1", "think\u25b7", "/think\u25b7"),
        (
            "Here",
            r"(?: is|['\u2019]s) my thought process:| are my reasoning steps:",
            r"(?: is|['\u2019]s) my response:",
        ),
        ("to=", r"self<\|message\|>", r"user<\|message\|>"),
    )
]
"""What marks begin with, and the patterns of those: a pattern is searched fastest after a text that it begins with."""
# The channels of gpt-oss (harmony). Servers that drop special tokens leave only the names of the channels.
_CHANNEL = re.compile(
    r"<\|channel\|>\s*+(\w++)[^<>]{0,80}(?:<\|constrain\|>\s*+\w++\s*+)?<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_BARE_ANALYSIS = re.compile(r"\s*+analysis(?![a-z\s:])")


def final_segment(text: str) -> str | None:
    """The last part of a text that was not only thought; None if thinking did not end."""
    if "<" in text and text.rfind("<|channel|>") >= 0:
        return _final_channel(text)
    if text.find("analysis", 0, 40) >= 0 and _BARE_ANALYSIS.match(text):
        _, final, segment = text.rpartition("assistantfinal")
        return segment[-TAIL:] if final else None
    return _unthought(text)


def _marks(text: str) -> list[re.Match[str]]:
    """The marks in a text, in order. None begins within another one."""
    # From the end a text is found several times as fast.
    marks = [
        mark
        for sign, pattern in _MARKS
        if text.rfind(sign) >= 0
        for mark in pattern.finditer(text)
    ]
    return sorted(marks, key=lambda mark: mark.start())


def _unthought(text: str) -> str | None:
    """The text after the last thinking; if that is blank, the text before it, if it is known where it began."""
    start = end = 0
    opened = ended = False
    parts: list[str] = []
    for mark in _marks(text):
        if mark["opening"]:
            if not opened:
                end = mark.start()
            opened = True
            continue
        ended = True
        # Everything before a closing mark alone was thought: the prompt opened it.
        parts = [*parts[-1:], text[start:end]] if opened else []
        start, opened = mark.end(), False
    # After thinking, or within a line, an opening mark that nothing closes is a word of the answer.
    if opened and not ended and not text[text.rfind("\n", 0, end) + 1 : end].strip():
        return None
    after = text[start:].partition("[END FINAL RESPONSE]")[0]
    if parts and not after.strip():
        after = next((part for part in reversed(parts) if part.strip()), after)
    return after[-TAIL:]


def _final_channel(text: str) -> str | None:
    """The last message on the channel `final`."""
    finals = [
        channel.end() for channel in _CHANNEL.finditer(text) if channel[1] == "final"
    ]
    if not finals:
        return None
    end = _CHANNEL_END.search(text, finals[-1])
    return text[finals[-1] : end.start() if end else len(text)][-TAIL:]
