"""Several models as one engine: they sample a prompt in turn."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from reasoner.engine import (
    Continuation,
    Engine,
    ModelInfo,
    RenderedPrompt,
    SampleRequest,
    TokenIds,
    continuation,
    release,
    reset_caches,
)
from reasoner.errors import UsageError, require
from reasoner.types import (
    Completion,
    Prompt,
    SamplingParams,
    ThinkingLevel,
    thinking_level,
)


@dataclass(slots=True)
class MixtureEngine:
    """The samples of a prompt are drawn by the members in turn; the member that began a chain continues it.

    `members` are the specs of the engines. So any strategy votes over, selects among, or searches with several models,
    and a sample's index shows which model drew it. With `levels`, a strategy chooses: the first members draw the
    samples at these thinking levels, one member for each, and the others draw all other samples. `weights` are whole
    numbers, 1 to 1000: of as many samples as their sum, each of those others draws its weight (Best-of-infinity,
    2509.21091, finds weights that maximize accuracy). Tokenizers may differ: a prompt counts as long as for the member
    that needs most tokens, and text cannot be forced into a reply. FLOPs are counted by the model that drew a sample,
    and cannot be a budget. Members manage their own KV caches.
    """

    example: ClassVar[str] = '-e "mixture:members=[simulated,simulated(tokens=20)]"'

    members: tuple[Engine, ...]
    levels: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()
    capacity: int | None = field(default=None, init=False, repr=False)
    _levels: tuple[ThinkingLevel, ...] = field(default=(), init=False, repr=False)
    _order: tuple[int, ...] = field(default=(), init=False, repr=False)
    """Who draws the samples without a level, over and over."""
    _homes: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    """The member that began a chain, by the digest of the prompt that continues it."""

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise UsageError(
                f"members must be at least two engines (got {len(self.members)}): write members=[ENGINE,ENGINE]"
            )
        if len(self.levels) >= len(self.members):
            raise UsageError(
                f"levels must be fewer than the members (got {len(self.levels)} for {len(self.members)}): "
                "leave one out, for all other samples"
            )
        self._levels = tuple(thinking_level(level, "levels") for level in self.levels)
        others = range(len(self.levels), len(self.members))
        for weight in self.weights:
            require(weight, "weights", at_least=1, at_most=1000, whole=True)
        if self.weights and len(self.weights) != len(others):
            raise UsageError(
                f"weights must be one for each member without a level (got {len(self.weights)} for {len(others)}): "
                f"give {len(others)}, or none"
            )
        weights = self.weights or (1,) * len(others)
        turns = [
            ((turn + 0.5) / weight, member)
            for member, weight in zip(others, weights, strict=True)
            for turn in range(weight)
        ]
        self._order = tuple(member for _, member in sorted(turns))

    @property
    def name(self) -> str:
        """The members' names."""
        return " + ".join(member.name for member in self.members)

    @property
    def model(self) -> ModelInfo:
        """The members' models, with the shortest of their windows, and what all say of sampling."""
        models = [member.model for member in self.members]
        context = min((model.context for model in models if model.context), default=0)
        return ModelInfo(
            " + ".join(model.name for model in models),
            context=context,
            thinking=next((model.thinking for model in models if model.thinking), None),
            sampling=models[0].sampling
            if len({model.sampling for model in models}) == 1
            else SamplingParams(),
            served=all(model.served for model in models),
            room=min((model.room for model in models if model.room), default=0),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """The members' notes."""
        return tuple(
            dict.fromkeys(note for member in self.members for note in member.notes)
        )

    @property
    def continues(self) -> Continuation | None:
        """Never: text cannot be forced into a reply."""
        return "never" if all(map(continuation, self.members)) else None

    async def start(self) -> None:
        """Start all members, one after the other."""
        for member in self.members:
            await member.start()

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The rendering of the member that began the chain; a bound for all members where none has."""
        if prompt.token_ids or prompt.text:
            return await self.members[self._home(prompt)].render(prompt)
        if prompt.thinking_level in self._levels:
            return await self.members[self._turn(prompt, 0)].render(prompt)
        rendered = [
            await member.render(prompt) for member in self.members[len(self._levels) :]
        ]
        return RenderedPrompt(None, max(prompt.tokens for prompt in rendered))

    def _home(self, prompt: Prompt) -> int:
        home = self._homes.get(prompt.digest)
        if home is None:
            raise UsageError(
                "no member of the mixture began this chain: its token ids mean nothing here"
            )
        return home

    async def encode(self, text: str) -> TokenIds | None:
        """Refused.

        Raises:
            UsageError: always, as the members tokenize a text differently.
        """
        raise UsageError(
            f"text such as {text[:40]!r} cannot be forced into the replies of several models: use one engine"
        )

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence from the member that has the next turn."""
        prompt = request.prompt
        home = self._turn(prompt, request.index)
        member = self.members[home]
        completion = await member.sample(
            replace(request, rendered=await member.render(prompt))
        )
        flops = member.model.flops_of(completion.usage)
        completion = replace(completion, usage=replace(completion.usage, flops=flops))
        self._remember(prompt.then(completion), home)
        return completion

    def resume(self, question_id: str, completion: Completion) -> None:
        """Know who drew a sequence before the run was interrupted."""
        prompt = completion.prompt
        self._remember(prompt.then(completion), self._turn(prompt, completion.index))

    def _turn(self, prompt: Prompt, index: int) -> int:
        if prompt.token_ids or prompt.text:
            return self._home(prompt)
        if prompt.thinking_level in self._levels:
            return self._levels.index(prompt.thinking_level)
        return self._order[index % len(self._order)]

    def _remember(self, chain: Prompt, home: int) -> None:
        self._homes.setdefault(chain.digest, home)
        # Chains with a remembered member: those that were drawn last
        if len(self._homes) > 1 << 18:
            del self._homes[next(iter(self._homes))]

    def release(self, question_id: str) -> None:
        """Tell the members that a question has ended."""
        release(question_id, *self.members)

    async def reset_caches(self) -> None:
        """Empty the members' caches."""
        await reset_caches(*self.members)

    async def close(self) -> None:
        """Close all members."""
        for member in self.members:
            await member.close()
