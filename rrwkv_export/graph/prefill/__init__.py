"""Any number of tokens."""
