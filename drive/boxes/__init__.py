"""Features to boxes: targets, losses, heads, decoding, the detectors."""
