"""The models: one file a generation."""
