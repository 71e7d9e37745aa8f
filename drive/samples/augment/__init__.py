"""Augmentations, one policy a file."""
