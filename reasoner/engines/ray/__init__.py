"""Replicas of an engine as Ray actors, on one machine or on a cluster."""

from reasoner.engines.ray.engine import RayEngine

__all__ = ["RayEngine"]
