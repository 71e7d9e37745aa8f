"""Voxels to features: point encoders and backbones."""
