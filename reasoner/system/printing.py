"""Text of models, users and other programs made safe to show: without what a terminal obeys, and without secrets."""

import base64
import html
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus, unquote

_BLANK: Final = re.compile(r"\r\n|[^\S \x1c-\x1f\x85\u2028\u2029]")
"""Line ends, tabs and blanks other than a space; those that only a terminal knows are shown."""
_FORMULA: Final = (
    "=",
    "+",
    "-",
    "@",
    "\N{FULLWIDTH EQUALS SIGN}",
    "\N{FULLWIDTH PLUS SIGN}",
    "\N{FULLWIDTH HYPHEN-MINUS}",
    "\N{FULLWIDTH COMMERCIAL AT}",
)
_NUMBER: Final = re.compile(r"[+-]?\d[\d,]*(\.\d+)?([eE][+-]?\d+)?")
HIDDEN = "***"
MIN_SECRET = 4
"""Characters below which a key is a placeholder such as `x`: hiding it would only make messages unreadable."""
MIN_SECRET_IN_TEXT = 8
"""The same for what a model wrote: a short password may be a word of the answer."""
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
_KEYS = re.compile(r"(?<=api_key=)[^,\s'\"]+")


def visible(text: str) -> str:
    """Text with control, direction and unknown characters as their code points, [U+001B]; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else f"[U+{ord(char):04X}]" for char in text)


def _harmless(char: str) -> bool:
    # The joiners are part of emoji and of some scripts.
    return (
        char.isprintable()
        or char in "\n\t\u200c\u200d"
        or unicodedata.category(char) == "Zs"
    )


def one_line(text: str) -> str:
    """The same on one line, in which a space is the only blank."""
    return text if text.isprintable() else visible(_BLANK.sub(" ", text))


def printable(text: str, *, limit: int = 60) -> str:
    """The same on one line of at most `limit` characters, with single blanks."""
    return clipped(" ".join(one_line(text[: 4 * limit]).split()), limit)


def no_formula(text: str) -> str:
    """Text with a leading apostrophe if a spreadsheet would run it as a formula; a signed number, as -5, stays."""
    return (
        f"'{text}"
        if text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text.strip())
        else text
    )


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters of a text; an ellipsis ends it where some are left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def valid_unicode(text: str) -> str:
    """Text that any file can hold: the halves of a surrogate pair are joined, and lone ones are replaced."""
    return (
        text
        if text.isascii()
        else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


def counted(number: int, thing: str) -> str:
    """A number of things in words: `1 question`, `1,200 questions`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def without_userinfo(text: str) -> str:
    """A text with the user name and password taken out of each URL."""
    return _USERINFO.sub(f"{HIDDEN}@", text)


def without_secrets(text: str) -> str:
    """A command or spec without keys and passwords, as it is kept in files that are shared."""
    return without_userinfo(_KEYS.sub(HIDDEN, text))


def shown_address(address: str) -> str:
    """An address, which may not be a valid URL, without user name, password and query."""
    userinfo, at, rest = address.rpartition("@")
    scheme = re.match(r"\w+://", address)
    host, mark, query = rest.partition("?")
    before = (
        f"{scheme[0] if scheme and userinfo else ''}{HIDDEN if userinfo else ''}{at}"
    )
    return f"{before}{host}{mark}{HIDDEN if query else ''}"


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """Texts that must not be shown, in each form that a server may send back: plain, escaped, percent, base64."""

    secrets: tuple[str, ...] = ()
    _forms: tuple[str, ...] = ()

    @classmethod
    def of(cls, *secrets: str) -> "Secrets":
        """These secrets, without those that are too short."""
        long = tuple(
            dict.fromkeys(secret for secret in secrets if len(secret) >= MIN_SECRET)
        )
        forms = {form for secret in long for form in _forms(secret)}
        return cls(long, tuple(sorted(forms, key=lambda form: (-len(form), form))))

    def hide(self, text: str, *, shortest: int = MIN_SECRET) -> str:
        """The text with every secret of at least `shortest` characters replaced, in any form."""
        if not self.secrets:
            return text
        for form in self._forms:
            if len(form) >= shortest and form in text:
                text = text.replace(form, HIDDEN)
        plain = _plain(text)
        if any(len(secret) >= shortest and secret in plain for secret in self.secrets):
            return self.hide(plain, shortest=shortest)
        return text


def _plain(text: str) -> str:
    """The text without the escapes of JSON, HTML and URLs."""
    return unquote(
        html.unescape(_ESCAPED.sub(lambda match: chr(int(match[1], 16)), text))
    )


def _forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    percent = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    escaped = {
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
    }
    escaped |= {form.replace("/", "\\/") for form in escaped}
    lower = {re.sub("%..", lambda match: match[0].lower(), form) for form in percent}
    # Inside a longer text base64 depends on the offset: three forms, without the ends that neighbours change.
    encoded = {
        base64.b64encode(bytes(before) + raw).decode()[
            -(-before * 4 // 3) : (before + len(raw)) // 3 * 4
        ]
        for before in range(3)
    }
    encoded = {form for form in encoded if len(form) >= MIN_SECRET_IN_TEXT}
    encoded |= {
        base64.b64encode(raw).decode(),
        base64.b64encode(raw).decode().rstrip("="),
    }
    encoded |= {form.translate({ord("+"): "-", ord("/"): "_"}) for form in encoded}
    return {secret, raw.hex(), *percent, *escaped, *lower, *encoded}
