"""Sensors by ray casting: a static scene and its actors seen by a spinning lidar and by cameras."""
