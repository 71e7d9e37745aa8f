"""From raw driving logs to boxes, tracks, plans and scores: one folder a stage, data flows one way."""

__version__ = "0.1.0"
