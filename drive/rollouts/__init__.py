"""Simulated drives: a planner in a scene, step by step."""
