"""The server: one address that answers OpenAI's clients by any strategy."""

from reasoner.system.extras import require_extra

require_extra("serve", "a server")
