"""From a float bundle to a quantized one, with ranges observed on real text with real carried state."""
