"""Mediums of intervals that follow the text, tried where its density varies."""
