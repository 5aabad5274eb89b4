"""Graphs in fixed shapes, for phones' engines."""
