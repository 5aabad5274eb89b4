"""One token for accelerators: fixed shapes, captured and replayed."""
