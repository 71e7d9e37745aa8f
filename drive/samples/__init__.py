"""Logs to samples: what a model sees of one instant."""
