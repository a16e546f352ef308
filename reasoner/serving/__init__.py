"""The server: one address that answers OpenAI's clients by any strategy."""
