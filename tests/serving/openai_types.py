"""Replies as OpenAI's own client reads them."""

from typing import Any


def read_as(cls: Any, document: dict[str, Any]) -> Any:
    """The reply in the client's type, which holds exactly what was sent.

    The client's models accept unknown fields; equality shows that every field has the type that the client expects.
    """
    read = cls.model_validate(document)
    assert read.model_dump(exclude_unset=True) == document
    return read
