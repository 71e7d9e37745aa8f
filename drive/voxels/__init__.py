"""Points to sparse voxels, scales and windows."""
