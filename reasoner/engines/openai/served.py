"""Which model a server serves."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from reasoner.engines.openai.http import Connection
from reasoner.engines.openai.values import Listed, listed_models, without_aliases
from reasoner.errors import EngineUnavailable, UnknownName, UsageError

MODELS_NAMED: Final = 20


async def served_model(server: Connection, model_id: str) -> Listed:
    """The model of that id, or the only one that the server has where `model_id` is empty.

    Raises:
        EngineUnavailable: the server cannot be reached, refuses, or serves no model.
        UnknownName: it does not serve `model_id`.
        UsageError: it has several models and `model_id` is empty.
    """
    where = server.where
    reply = await server.call("GET", "/v1/models", starting=True)
    if not reply.ok:
        raise server.refusal(reply)
    models = listed_models(reply.body)
    if models is None:
        raise EngineUnavailable(f"{where}/models is not a list of models: set base_url to the address that ends in /v1")
    if not models:
        raise EngineUnavailable(f"{where} lists no model: load one there")
    if not model_id and len(plain := without_aliases(models)) == 1:
        return plain[0]
    if model_id in models:
        return models[model_id]
    if model_id:
        near = get_close_matches(model_id, models, n=MODELS_NAMED, cutoff=0.0)
        raise UnknownName("model", model_id, _shown(server, near), of=where)
    more = f" and {len(models) - MODELS_NAMED} more" if len(models) > MODELS_NAMED else ""
    names = ", ".join(_shown(server, list(models)[:MODELS_NAMED]))
    raise UsageError(f"{where} serves several models: set model_id to one of {names}{more}")


def _shown(server: Connection, names: Sequence[str]) -> list[str]:
    return [server.show(name, 100) for name in names]
