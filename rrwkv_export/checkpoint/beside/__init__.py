"""What lies beside the weights: tokenizer, chat format, model card, what ends a text."""
