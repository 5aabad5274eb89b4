"""A result as a page, as Markdown and as JSON."""
