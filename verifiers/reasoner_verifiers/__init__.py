"""Built-in verifiers: one verifier a file. They rate candidates and never see a reference answer."""

from reasoner_verifiers.certainty import Certainty

__all__ = ["Certainty"]
