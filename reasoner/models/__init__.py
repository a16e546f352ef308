"""The embedded default model, and what is known of any model from its files."""
