"""Which model the servers serve, and whether all replicas serve the same one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

from reasoner.engines.openai.http import CONNECT_SECONDS, Connection, NoAnswer
from reasoner.engines.openai.rendering import Renderer
from reasoner.engines.openai.values import Listed, Tokenized, listed_models, without_aliases
from reasoner.errors import EngineUnavailable, ReasonerError, UnknownName, UsageError

MODELS_NAMED: Final = 20


class _Served(NamedTuple):
    """What one replica serves: the model, and a short chat as it renders it."""

    model: Listed
    chat: Tokenized | None


@dataclass(slots=True, eq=False)
class ServedModel:
    """The model of an engine: found at the start, and asked for again when a replica that was lost is back.

    Whether all replicas serve the same model is judged by its name, its context window and the token ids of a short
    chat. `model_id` may be empty where each has only one.
    """

    http: Connection
    renderer: Renderer
    model_id: str
    _first: str = ""
    _served: _Served | None = None

    async def find(self) -> Listed:
        """The model that all replicas serve; those that do not answer are lost until they do.

        Raises:
            EngineUnavailable: no server can be reached, one refuses, or one serves no model.
            UnknownName: one does not serve `model_id`.
            UsageError: a server has several models and `model_id` is empty, or two serve different ones.
        """
        replicas = range(len(self.http.addresses))
        if len(replicas) == 1:
            return await self._choose(0)
        self.http.replicas.answers = self._answers
        results = await asyncio.gather(*map(self._look, replicas), return_exceptions=True)
        missing = {replica: error for replica, error in enumerate(results) if isinstance(error, BaseException)}
        for error in missing.values():
            if not isinstance(error, NoAnswer):
                raise error
        if len(missing) == len(replicas):
            raise EngineUnavailable(f"none of the {len(replicas)} servers answers: {missing[0]}") from missing[0]
        for replica in missing:
            self.http.replicas.lose(replica)
        for replica, served in enumerate(results):
            if isinstance(served, _Served) and (difference := self._difference(replica, served)):
                raise UsageError(difference)
        assert self._served is not None
        return self._served.model

    async def _look(self, replica: int, patience: float | None = None) -> _Served:
        model = await self._choose(replica, patience)
        return _Served(model, await self.renderer.short(model, replica))

    async def _answers(self, replica: int) -> bool:
        """Whether a replica answers now, and serves the same as the others."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                served = await self._look(replica, patience=0)
        except (ReasonerError, TimeoutError):
            return False
        if difference := self._difference(replica, served):
            self.http.notes.add(difference)
        return not difference

    def _difference(self, replica: int, served: _Served) -> str:
        """How a replica differs from the first one that was seen; empty where it does not."""
        where, show = self.http.addresses[replica].base_url, self.http.show
        if self._served is None:
            self._first, self._served = where, served
        model, chat = self._served
        if model.id != served.model.id:
            differ = f"serves {show(model.id, 100)} and {where} serves {show(served.model.id, 100)}"
        elif model.max_model_len != served.model.max_model_len:
            differ = (
                f"has a context window of {model.max_model_len:,} tokens and {where} one of "
                f"{served.model.max_model_len:,}"
            )
        elif (chat and chat.tokens) != (served.chat and served.chat.tokens):
            differ = f"and {where} render the same chat as different token ids"
        else:
            if model.root != served.model.root:
                loaded = f"{show(model.root, 100)} and {where} from {show(served.model.root, 100)}"
                self.http.notes.add(f"{self._first} loaded the model from {loaded}: whether they are equal is unknown")
            return ""
        return f"{self._first} {differ}: start all replicas with the same model and options"

    async def _choose(self, replica: int, patience: float | None = None) -> Listed:
        where = self.http.addresses[replica].base_url
        reply = await self.http.call("GET", "/v1/models", starting=True, only=replica, patience=patience)
        if not reply.ok:
            raise self.http.refusal(reply)
        models = listed_models(reply.body)
        if models is None:
            raise EngineUnavailable(
                f"{where}/models is not a list of models: set base_url to the address that ends in /v1"
            )
        if not models:
            raise EngineUnavailable(f"{where} lists no model: load one there")
        if not self.model_id and len(plain := without_aliases(models)) == 1:
            return plain[0]
        if self.model_id in models:
            return models[self.model_id]
        if self.model_id:
            near = get_close_matches(self.model_id, models, n=MODELS_NAMED, cutoff=0.0)
            raise UnknownName("model", self.model_id, self._shown(near), of=where)
        more = f" and {len(models) - MODELS_NAMED} more" if len(models) > MODELS_NAMED else ""
        names = ", ".join(self._shown(list(models)[:MODELS_NAMED]))
        raise UsageError(f"{where} serves several models: set model_id to one of {names}{more}")

    def _shown(self, names: Sequence[str]) -> list[str]:
        return [self.http.show(name, 100) for name in names]
