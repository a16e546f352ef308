"""Reward models: their recipes and layouts, the cache of their scores, and the serving of heads."""
