"""Reward models: which there are, what they read, where their scores are kept, how a head is served."""
