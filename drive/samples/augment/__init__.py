"""Augmentation, one policy a file; `policy.py` strings them together."""
