"""Calibration: what the graph's products are given over real text."""
