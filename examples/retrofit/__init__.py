"""Mediums for a model that has none, and all the way to a chat with it."""
