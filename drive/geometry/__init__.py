"""Rigid motions, boxes, angles, cameras, polylines, clocks. Numpy only."""
