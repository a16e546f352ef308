"""Text of models and users made safe to print."""


def clean(text: str) -> str:
    """Text with control, format and line-end characters, which a terminal may interpret, replaced by spaces."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def printable(text: str, *, limit: int = 60) -> str:
    """Text of a model for a terminal: one line of at most `limit` characters without control characters."""
    line = " ".join(clean(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
