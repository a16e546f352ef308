"""The seed of a sequence."""

import hashlib


def derive_seed(seed: int, question_id: str, prompt: str, index: int) -> int:
    """The seed of one sequence, 0 to 2^63 - 1: it depends on what the sequence is, never on when it runs."""
    path = f"{seed}\0{question_id}\0{prompt}\0{index}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "big") >> 1
