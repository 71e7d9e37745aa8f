"""Recipes: Python functions that return an Experiment."""
