"""One token for accelerators: static shapes, captured and replayed."""
