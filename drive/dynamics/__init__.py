"""How vehicles move: car following and vehicle models. Numpy only."""
