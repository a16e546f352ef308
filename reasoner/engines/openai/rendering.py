"""Prompts as token ids, by the /tokenize of a vLLM server, and how the server's model thinks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from reasoner.engine import EngineUnavailable, RenderedPrompt, TokenIds
from reasoner.engines import RenderedHead, SharedHeads, named_profile
from reasoner.engines.openai.http import Notes, ServerConnection
from reasoner.engines.openai.requests import level_fields, merged
from reasoner.engines.openai.values import ServedModel, Tokenized
from reasoner.models.families import (
    AUTO,
    profile_for_parser,
    profile_of,
    skip_text,
    template_arguments,
)
from reasoner.models.thinking import PartSplitter, ThinkingProfile, find, still_thinking
from reasoner.types import NO_THINKING, Message, Prompt, ThinkingLevel

SHORT: Final = (Message("user", "1"),)
"""A chat that is rendered to see what the template does."""
_SPELLED: Final = str.maketrans("ĠĊ▁", " \n ")
"""The signs for blanks and line breaks in the texts of tokens."""
TEXT_ONLY: Final = "the server takes no token ids: prompts are sent as text and continuation is not token-exact"


@dataclass(slots=True, eq=False)
class Renderer:
    """Renders prompts on one server. `exact` says whether it takes token ids; `notes` are the engine's."""

    http: ServerConnection
    extra: Mapping[str, object]
    notes: Notes
    served: str = ""
    by_reasoner: bool = False
    """Whether the server is `reasoner serve`, which knows thinking levels and how the model thinks."""
    exact: bool = False
    profile: ThinkingProfile | None = None
    _heads: SharedHeads[RenderedHead | None] = field(default_factory=SharedHeads)
    _opens: dict[ThinkingLevel | None, bool] = field(default_factory=dict)

    async def start(self, model: ServedModel, parser: str) -> Tokenized | None:
        """Find out whether the server takes token ids, and how its model thinks; its reply to a short chat.

        Raises:
            UnknownName: no family of models has this reasoning parser.
        """
        self.served, self.by_reasoner = model.id, model.by_reasoner
        rendered = await self._short(model)
        self.exact = True
        if rendered is None:
            self._without_ids()
        if parser != AUTO:
            profile = named_profile(parser)
        elif self.by_reasoner:
            profile = profile_for_parser(model.reasoning_parser)
        else:
            profile = profile_of(model.root or "") or profile_of(model.id)
        if (
            parser == AUTO
            and not self.by_reasoner
            and rendered
            and profile
            and not await self._may_think(profile)
        ):
            profile = None
        if profile and self.exact:
            profile = replace(
                profile,
                start=await self._marker(profile.start_text),
                end=await self._marker(profile.end_text),
            )
        self.profile = profile
        return rendered

    async def _short(self, model: ServedModel) -> Tokenized | None:
        """A short chat as the server renders it; None where it takes no token ids."""
        # A route of that name that takes no messages is not vLLM's, and its token ids mean nothing here.
        rendered = await self._probe(self._chat(SHORT))
        if rendered is None and model.owned_by == "vllm":
            # A model without a chat template.
            rendered = await self._probe({"prompt": "1"})
        return rendered

    def _without_ids(self) -> None:
        self.exact = False
        self.notes.add(TEXT_ONLY)

    async def _may_think(self, named: ThinkingProfile) -> bool:
        """Whether the chat template fits the model's name: with a choice of levels, it renders them differently."""
        if named.when == "always" or NO_THINKING not in named.levels:
            return True
        asked = [
            self._chat(SHORT, named.levels[level]) for level in (NO_THINKING, "high")
        ]
        without, thinking = [await self._probe(chat) for chat in asked]
        return without is None or thinking is None or without.tokens != thinking.tokens

    async def _marker(self, text: str) -> TokenIds:
        """The ids of a marker; none where it is not one and the same ids everywhere."""
        ids = await self.encode(text) if text else None
        within = await self.encode(f"a{text}\n.{text}a") if ids else None
        if not ids or not within:
            return ()
        first = find(within, ids)
        return ids if first >= 0 <= find(within[first + len(ids) :], ids) else ()

    def _chat(
        self,
        messages: tuple[Message, ...],
        arguments: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """The body that renders a chat: arguments of the chat template change its ids."""
        body: dict[str, object] = {
            "messages": [message.fields for message in messages],
            "add_generation_prompt": True,
        }
        return merged(
            body | ({"chat_template_kwargs": dict(arguments)} if arguments else {}),
            self.extra,
        )

    async def _probe(self, prompt: dict[str, object]) -> Tokenized | None:
        reply = await self.http.call(
            "POST", "/tokenize", {"model": self.served, **prompt}, starting=True
        )
        return Tokenized.known(reply.body) if reply.ok else None

    async def render(self, prompt: Prompt) -> RenderedPrompt | None:
        """The prompt's token ids; None where the server takes none, or where a reply exists only as text."""
        if not self.exact or (
            not prompt.token_ids and (prompt.text or prompt.thinking)
        ):
            return None
        head = await self.head(prompt)
        if head is None:
            return None
        ids = head.token_ids + prompt.token_ids
        return RenderedPrompt(
            ids, len(ids), still_thinking(prompt, self.profile, opened=head.opened)
        )

    async def encode(self, text: str) -> TokenIds | None:
        """The ids of a text by the server's tokenizer; None where it has no route for that."""
        tokenized = (
            await self._tokenize({"prompt": text, "add_special_tokens": False})
            if self.exact
            else None
        )
        return tokenized.tokens if tokenized else None

    async def head(self, prompt: Prompt) -> RenderedHead | None:
        """The rendered head; sequences that need it at the same time share one request and continue in their order."""
        return await self._heads.get(
            prompt.head_digest, lambda: self._render_head(prompt)
        )

    async def _render_head(self, prompt: Prompt) -> RenderedHead | None:
        if prompt.raw:
            tokenized = await self._tokenize({"prompt": prompt.raw})
            return None if tokenized is None else RenderedHead(tokenized.tokens)
        level = prompt.thinking_level
        if self.by_reasoner:
            chat = self._chat(prompt.messages) | level_fields(level)
            tokenized = await self._tokenize(chat | prompt.tool_fields)
            if tokenized is None:
                return None
            return RenderedHead(tokenized.tokens, opened=bool(tokenized.in_thinking))
        chat = (
            self._chat(prompt.messages, template_arguments(self.profile, level))
            | prompt.tool_fields
        )
        tokenized = await self._tokenize(chat)
        if tokenized is None:
            return None
        opened = await self._opened(level)
        skip = skip_text(self.profile, level, opened=opened)
        skipped = await self.encode(skip) if skip else ()
        return RenderedHead(
            tokenized.tokens + (skipped or ()), opened=opened and not skipped
        )

    async def _opened(self, level: ThinkingLevel | None) -> bool:
        """Whether the chat template opens thinking at this level: what it adds for the reply shows it, no message."""
        if self.profile is None or not self.profile.start_text:
            return False
        if level not in self._opens:
            chat = self._chat(SHORT, template_arguments(self.profile, level))
            asked, bare = [
                await self._probe(
                    chat | {"add_generation_prompt": reply, "return_token_strs": True}
                )
                for reply in (True, False)
            ]
            added = (
                (asked.token_strs or [])[len(bare.tokens) :] if asked and bare else ()
            )
            reading = PartSplitter(self.profile, opened=False)
            reading.add("".join(added).translate(_SPELLED), last=True)
            self._opens[level] = reading.thinking
        return self._opens[level]

    async def _tokenize(self, body: Mapping[str, object]) -> Tokenized | None:
        """The reply with the ids; None where the server has no such route, which then gets text."""
        reply = await self.http.call(
            "POST", "/tokenize", {"model": self.served, **body}
        )
        if reply.status in {404, 405, 422, 501}:
            self._without_ids()
            return None
        if not reply.ok:
            raise self.http.refusal(reply)
        tokenized = Tokenized.known(reply.body)
        if tokenized is None:
            raise EngineUnavailable(
                f"{reply.where}: /tokenize sent no token ids: restart the server"
            )
        return tokenized
