"""What draws sequences: vLLM in this process, a server, a script, a simulation, a recording."""

from reasoner.types import TokenIds


class FreeEngine:
    """Base of an engine without a model: nothing to start or to close, and texts have no token ids."""

    __slots__ = ()

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def encode(self, text: str) -> TokenIds | None:
        """None: there are no ids."""
        return None
