"""How fast, and in how much memory: of bundles, of other programs beside them, of large models, over long texts."""
