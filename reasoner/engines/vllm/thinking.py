"""How a model that vLLM serves thinks, and how vLLM limits its thinking."""

from dataclasses import replace
from typing import Any

from reasoner.engines.vllm.rendering import TextEncoder
from reasoner.errors import UnknownName, UsageError
from reasoner.models.families import AUTO, OFF, profile_for_parser
from reasoner.models.probing import Reader, find_profile, with_markers
from reasoner.models.thinking import ThinkingProfile
from reasoner.types import TokenIds


def served_profile(name: str, parser: str, config: Any, reader: Reader) -> ThinkingProfile | None:
    """How a model thinks that is being served; None for one that does not. `config` is vLLM's `ModelConfig`.

    Raises:
        UsageError: there is no such parser, or it has no markers that the tokenizer knows.
    """
    if parser in OFF:
        return None
    from vllm.tokenizers import cached_tokenizer_from_config

    given = None if parser == AUTO else given_profile(parser, cached_tokenizer_from_config(config))
    return find_profile(name, _model_type(config), reader, given=given)


def limit_thinking(arguments: Any, name: str, parser: str) -> None:
    """Give vLLM's arguments the `reasoning_config` by which it ends thinking after a number of tokens.

    The tokenizer is the one that vLLM loads next, from its cache. Nothing is done where it has no markers, or joins
    them with other text: vLLM compares token ids, and would close thinking again and again. Nor where it cannot be
    loaded: then the start fails and says why.
    """
    if parser in OFF or arguments.reasoning_config is not None:
        return
    from vllm.tokenizers import cached_tokenizer_from_config

    try:
        config = arguments.create_model_config()
        encoder = TextEncoder(cached_tokenizer_from_config(config))
    except Exception:
        return
    reader = Reader(lambda _, __: "", encoder.marked, encoder.added)
    given = None if parser == AUTO else given_profile(parser, encoder.tokenizer)
    profile = with_markers(name, _model_type(config), reader, given=given)
    if profile and profile.end:
        arguments.reasoning_config = reasoning_config(profile, encoder.marked(profile.closing))
    if profile and _fits(profile.parser, encoder.tokenizer):
        # By it vLLM knows where a JSON schema begins to hold.
        arguments.structured_outputs_config.reasoning_parser = profile.parser


def _fits(parser: str, tokenizer: Any) -> bool:
    """Whether vLLM has a reasoning parser of this name that finds its markers in a tokenizer."""
    from vllm.reasoning import ReasoningParserManager

    try:
        ReasoningParserManager.get_reasoning_parser(parser)(tokenizer)
    except Exception:  # a parser raises what it likes
        return False
    return True


def reasoning_config(profile: ThinkingProfile, closing: TokenIds) -> Any:
    """VLLM's `ReasoningConfig` for a profile.

    It is given token ids, as vLLM would encode the texts of markers without regard to Mistral's special tokens, and
    would take the whole closing text for the marker that ends thinking where a parser does not name its own.
    """
    from vllm.config.reasoning import ReasoningConfig

    config = ReasoningConfig(reasoning_start_str=profile.start_text, reasoning_end_str=profile.closing)
    config._reasoning_start_token_ids = list(profile.start)
    config._reasoning_end_token_ids = list(closing)
    config._natural_reasoning_end_token_ids = list(profile.end)
    return config


def limits(config: Any, profile: ThinkingProfile) -> bool:
    """Whether a running engine ends thinking with the markers of a profile; `config` is its `ReasoningConfig`."""
    if config is None or not config.enabled:
        return False
    markers = config.reasoning_start_token_ids, config.natural_reasoning_end_token_ids
    return markers == (list(profile.start), list(profile.end))


def _model_type(config: Any) -> str:
    return str(getattr(config.hf_config, "model_type", "") or "")


def given_profile(parser: str, tokenizer: Any) -> ThinkingProfile:
    """The profile of a reasoning parser of vLLM, by the table of families or else by the parser's own markers.

    Raises:
        UnknownName: vLLM has no such parser.
        UsageError: it has no markers in the tokenizer.
    """
    from vllm.reasoning import ReasoningParserManager

    known = ReasoningParserManager.list_registered()
    if parser not in known:
        raise UnknownName("reasoning parser", parser, [AUTO, "none", *known])
    if profile := profile_for_parser(parser):
        return profile
    try:
        instance = ReasoningParserManager.get_reasoning_parser(parser)(tokenizer)
        start, end = instance.reasoning_start_str or "", instance.reasoning_end_str or ""
    except Exception:  # a parser raises what it likes where the tokenizer lacks its markers
        start = end = ""
    if not start or not end:
        raise UsageError(f"reasoning_parser={parser} has no markers in this model's tokenizer: choose another, or none")
    common = profile_for_parser("deepseek_r1")
    assert common is not None
    closing, skip = (text.replace("<think>", start).replace("</think>", end) for text in (common.closing, common.skip))
    return replace(common, start_text=start, end_text=end, closing=closing, skip=skip, parser=parser)
