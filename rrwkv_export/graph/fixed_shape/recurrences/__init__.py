"""The recurrences in fixed shapes, for one token and for a segment."""
