"""Measurements. Nothing here is part of a test; each module prints a table and says what machine it ran on."""
