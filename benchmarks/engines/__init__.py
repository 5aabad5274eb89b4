"""Execution providers: where every node goes, whether the logits are right there, and how fast."""
