"""What a browser would make of a page: its elements, without running anything."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "wbr", "link", "img", "hr"}


@dataclass
class Element:
    """One element, with the tags around it and the text directly and indirectly inside it."""

    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    text: str = ""


@dataclass
class Parsed:
    """All elements of a page, in order."""

    elements: list[Element] = field(default_factory=list)

    def of(self, *tags: str) -> list[Element]:
        return [one for one in self.elements if one.tag in tags]

    @property
    def text(self) -> str:
        return "".join(one.text for one in self.of("body"))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parsed = Parsed()
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = tuple(one.tag for one in self._open)
        self.parsed.elements.append(
            Element(tag, {name: value or "" for name, value in attrs}, inside)
        )
        if tag not in VOID:
            self._open.append(self.parsed.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert [one.tag for one in self._open[-1:]] == [tag], (
                f"</{tag}> closes something else"
            )
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for one in self._open:
            one.text += data


def parsed(page: str) -> Parsed:
    """A page, every element of which is closed in its place."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader._open == []
    return reader.parsed
