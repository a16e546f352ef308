"""The tokenizer and the chat template of the fake server."""

import re

BOS, EOS, TURN, THINK, CLOSE = 1, 2, 3, 4, 5
MARKERS = {"<think>": THINK, "</think>": CLOSE}
BYTE = 10


def spell(text: str) -> list[int]:
    """The fake tokeniser: one id a byte, and one for each marker of thinking."""
    ids: list[int] = []
    for piece in re.split("(</?think>)", text):
        ids += (
            [MARKERS[piece]]
            if piece in MARKERS
            else [BYTE + b for b in piece.encode("utf-8", "surrogatepass")]
        )
    return ids


def spell_chat(messages: list[dict[str, str]]) -> list[int]:
    """The fake chat template: a turn token before each message and before the reply."""
    ids = [BOS]
    for message in messages:
        ids += [TURN, *spell(message["content"])]
    return [*ids, TURN]
