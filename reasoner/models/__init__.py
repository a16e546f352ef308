"""The embedded default model, and facts about any model from its files."""
