"""Between text and token ids, both ways."""
