"""Boxes of single frames to objects with an identity and a state: trackers, all with the same explicit step."""
