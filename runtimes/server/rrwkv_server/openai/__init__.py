"""OpenAI's API over the engine: what may be asked, how it is answered, and errors in its shape."""
