"""Graph surgery: what computes a product once it is rounded."""
