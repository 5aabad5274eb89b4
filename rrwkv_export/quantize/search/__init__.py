"""Recipes and exponents, found by what they cost."""
