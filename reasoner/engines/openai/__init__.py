"""The engine for servers with OpenAI's HTTP routes."""
