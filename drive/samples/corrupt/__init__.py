"""Corrupted sensors: MultiCorrupt's ten corruptions and ours, each at three severities."""
