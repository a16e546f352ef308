"""Several models as one engine: the samples of a prompt go round among them."""

from dataclasses import dataclass, field, replace

from reasoner.errors import UsageError
from reasoner.models.card import ModelCard
from reasoner.protocols import Engine, Rendered, SampleRequest, forget
from reasoner.types import Completion, Prompt, TokenIds


@dataclass(slots=True)
class MixtureEngine:
    """Sample i of a prompt is drawn by member i modulo their number; a chain is continued by the member that began it.

    So any strategy votes over, selects among, or searches with several models, which one it was following from a
    sample's index. Their tokenizers may differ: a prompt is counted at the longest member's, and text cannot be forced
    into a reply. FLOPs are not known. Members keep their own KV caches: no gate stands in front of them.
    """

    members: tuple[Engine, ...]
    _homes: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise UsageError(
                f"members must be at least two engines (got {len(self.members)}): write members=[ENGINE,ENGINE]"
            )

    @property
    def name(self) -> str:
        """The members' names."""
        return " + ".join(member.name for member in self.members)

    @property
    def model(self) -> ModelCard:
        """The members' models, with the shortest of their windows."""
        cards = [member.model for member in self.members]
        context = min((card.context for card in cards if card.context), default=0)
        return ModelCard(" + ".join(card.name for card in cards), context=context)

    @property
    def notes(self) -> tuple[str, ...]:
        """The members' notes."""
        return tuple(dict.fromkeys(note for member in self.members for note in member.notes))

    @property
    def capacity(self) -> None:
        """The members look after their own."""
        return None

    async def start(self) -> None:
        """Start all members, one after the other."""
        for member in self.members:
            await member.start()

    async def render(self, prompt: Prompt) -> Rendered:
        """As the member reads it that the chain belongs to; for a chain not yet begun, a bound for all."""
        if prompt.token_ids or prompt.text:
            return await self.members[self._home(prompt)].render(prompt)
        rendered = [await member.render(prompt) for member in self.members]
        return Rendered(None, max(one.tokens for one in rendered))

    def _home(self, prompt: Prompt) -> int:
        home = self._homes.get(prompt.digest)
        if home is None:
            raise UsageError("this chain was begun by no member of the mixture: its token ids mean nothing here")
        return home

    async def encode(self, text: str) -> TokenIds | None:
        """Refused.

        Raises:
            UsageError: always, as the members spell a text differently.
        """
        raise UsageError(
            f"text such as {text[:40]!r} cannot be forced into the replies of several models: use one engine"
        )

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence from the member whose turn it is."""
        prompt = request.prompt
        fresh = not (prompt.token_ids or prompt.text)
        home = request.index % len(self.members) if fresh else self._home(prompt)
        member = self.members[home]
        completion = await member.sample(replace(request, rendered=await member.render(prompt)))
        self._homes[prompt.then(completion).digest] = home
        return completion

    async def forget(self) -> None:
        """Empty the members' caches."""
        await forget(*self.members)

    async def close(self) -> None:
        """Close all members."""
        for member in self.members:
            await member.close()
