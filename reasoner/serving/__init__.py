"""OpenAI's API over a session, and the server that speaks it."""
