"""Texts as token ids; which of them a step sees; a tokenizer made of the texts, or one that is there."""
