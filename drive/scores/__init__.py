"""Boxes to scores, equal to the official ones."""
