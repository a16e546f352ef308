"""Dates, times of day and small numbers in words, each in one spelling."""

import re

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_SCALES = {"thousand": 1000, "million": 10**6, "billion": 10**9}
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?:the\s)?(?P<day>\d{1,2})(?:\s?(?:st|nd|rd|th))?"
_DATES = (
    re.compile(rf"{_MONTH}\s{_DAY}(?:,?\s(?P<year>\d{{4}}))?"),
    re.compile(rf"{_DAY}\s(?:of\s)?{_MONTH}(?:,?\s(?P<year>\d{{4}}))?"),
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"),
)
_PART = r"(?:\s?(?P<half>[ap])\.?\s?m\.?|\s(?:in\sthe\s)?(?P<part>morning|afternoon|evening))?"
_HOUR = rf"(?P<hour>\d{{1,2}}|{'|'.join(_SMALL[1:13])})"
# `10 to 7` in digits may be a ratio.
_MINUTES = rf"(?P<minutes>quarter|half|\d{{1,2}}(?=\sm)|{'|'.join(_SMALL[1:20])}|twenty(?:[-\s]five)?)(?:\sminutes)?"
_TIMES = (
    re.compile(rf"(?P<hour>\d{{1,2}})(?::(?P<minutes>\d\d))?{_PART}"),
    re.compile(rf"{_HOUR}\s(?P<clock>o'clock){_PART}"),
    re.compile(rf"(?:a\s)?{_MINUTES}\s(?P<side>past|to)\s{_HOUR}(?:\so'clock)?{_PART}"),
)
_NAMED = {"noon": "12:00 pm", "midday": "12:00 pm", "midnight": "12:00 am"}
MAX_MOMENT = 60
"""Maximum characters of a date, a time or a number in words."""


def moment(text: str) -> str | None:
    """A date or a time of day in its normal spelling; None if the text is neither."""
    plain = " ".join(text.casefold().replace("{:}", ":").split())
    if len(plain) > MAX_MOMENT:
        return None
    if plain in _NAMED:
        return _NAMED[plain]
    for date in _DATES:
        if match := date.fullmatch(plain):
            return _date(match)
    for time in _TIMES:
        if match := time.fullmatch(plain):
            return _time(match.groupdict())
    return None


def _date(match: re.Match[str]) -> str | None:
    written, day, year = match["month"], int(match["day"]), match["year"]
    months = [
        index
        for index, month in enumerate(_MONTHS)
        if written in (f"{index + 1:02}", month) or month.startswith(written)
    ]
    if len(months) != 1 or not 1 <= day <= 31:
        return None
    return f"{_MONTHS[months[0]]} {day}" + (f", {year}" if year else "")


def _time(parts: dict[str, str | None]) -> str | None:
    hour, written = number_in_words(parts["hour"] or ""), parts.get("minutes")
    minutes = {None: 0, "quarter": 15, "half": 30}.get(written)
    if minutes is None:
        minutes = number_in_words(written or "")
    half = parts["half"] or {"morning": "a", "afternoon": "p", "evening": "p"}.get(parts["part"] or "", "")
    if hour is None or minutes is None or hour > 24 or minutes > 59:
        return None
    if not (half or written or parts.get("clock")):
        return None
    if parts.get("side") == "to":
        hour, minutes = (hour - 1 or 12), 60 - minutes
    if not half and hour in (0, *range(13, 24)):
        half, hour = ("p", hour - 12) if hour else ("a", 12)
    return f"{hour}:{minutes:02}" + (f" {half}m" if half and 1 <= hour <= 12 else "")


def number_in_words(text: str) -> int | None:
    """The value of a whole number in digits or in English words; None for anything else."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) < 3 else None
    words = re.findall(r"[a-z]++", text.casefold())
    if not words or len(text) > MAX_MOMENT or re.search(r"[^a-zA-Z\s-]", text):
        return None
    total = part = 0
    for index, word in enumerate(words):
        value = _VALUES.get(word)
        if word in _SCALES and part:
            total, part = total + part * _SCALES[word], 0
        elif word == "hundred" and 0 < part < 10:
            part *= 100
        elif value is not None and _fits(part, value) and (value or len(words) == 1):
            part += value
        elif not (word == "and" and part and part % 100 == 0 and index + 1 < len(words)):
            return None
    return total + part


def _fits(part: int, value: int) -> bool:
    """Whether a word may follow what was counted so far: `twenty one` but neither `two one` nor `twenty ten`."""
    rest = part % 100
    return rest == 0 or (rest >= 20 and rest % 10 == 0 and 0 < value < 10)
