"""Seeing it: pictures and reports."""
