"""Weight files: what they are, how they are taken apart safely, and the tensors in them."""
