"""The pieces of a reply that are passed on while it is generated, against the parts of the whole. No engine runs."""

from types import SimpleNamespace
from typing import Any

import pytest

from reasoner.engine import TextPiece
from reasoner.engines.vllm.parts import Before, Marks, split_parts
from reasoner.engines.vllm.rendering import TextEncoder
from reasoner.engines.vllm.stream import PartPieces
from reasoner.models.thinking import ThinkingProfile

REPLIES = (
    "so it is 4</think>The answer is 4.",
    "</think>4",
    "it never ends",
    "a</think>b</think>c",
    "a<think>b</think>c",
    "grüße 🐢 und 漢字</think>🐢 = 漢字",
    "",
)


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("width", [1, 3, 100])
@pytest.mark.parametrize(("opened", "words"), [(True, False), (False, False), (True, True), (False, True)])
def test_the_pieces_are_the_parts_of_the_whole(
    tokenizer: Any, reply: str, width: int, *, opened: bool, words: bool
) -> None:
    """Markers may be single tokens or, with `words`, several."""
    encoder = TextEncoder(tokenizer)
    if not opened and reply.find("</think>") >= 0:
        reply = f"<think>{reply}"
    if words:
        reply = reply.replace("<think>", "[begin it]").replace("</think>", "[end it]")
        marks = ("[begin it]", "[end it]")
    else:
        marks = ("<think>", "</think>")
    start, end = (encoder.encode(mark) for mark in marks)
    assert (len(end) > 1) == words
    profile = Marks(ThinkingProfile("always", start, end, *marks, closing=marks[1]))
    head, ids = encoder.encode("What is 2 + 2?"), encoder.encode(reply)
    before = Before(head, 0, opened)
    pieces: list[TextPiece] = []
    passing = PartPieces(pieces.append, before, profile, tokenizer)
    for at in range(0, len(ids), width):
        passing(SimpleNamespace(token_ids=ids[at : at + width], text=""))
    whole = split_parts(ids, before, profile, tokenizer)
    thinking = "".join(piece.text for piece in pieces if piece.thinking)
    final = "".join(piece.text for piece in pieces if not piece.thinking)
    assert (thinking, final) == (whole.thinking, whole.final)
