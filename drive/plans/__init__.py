"""Planners: what the ego is to do next, from what is known at an instant."""
