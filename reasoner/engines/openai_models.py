"""What a server reports about its models, and the token ids of a text."""

from typing import NamedTuple

from reasoner.engines import openai_json as js
from reasoner.types import TokenIds


class Listed(NamedTuple):
    """A model in the reply of /models; `max_model_len` is vLLM's, in tokens, 0 if the server does not report it."""

    id: str
    owned_by: str
    max_model_len: int


class Tokenized(NamedTuple):
    """The reply of vLLM's /tokenize: token ids, one at least, and the context window."""

    tokens: TokenIds
    max_model_len: int


def listed_models(body: bytes) -> dict[str, Listed] | None:
    """The models by id, in the server's order; None where the reply is not a list of models."""
    try:
        cards = [js.mapping(card) for card in js.parsed(body)["data"]]
        models = [
            Listed(js.mended(card["id"]), js.text(card.get("owned_by")), js.count(card.get("max_model_len") or 0))
            for card in cards
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {model.id: model for model in models}


def tokenized(body: bytes) -> Tokenized | None:
    """The ids; None where this is not what vLLM replies."""
    try:
        told = js.parsed(body)
        tokens = tuple(js.count(one) for one in js.listed(told.get("tokens")))
        return Tokenized(tokens, js.count(told.get("max_model_len"))) if tokens else None
    except ValueError:
        return None
