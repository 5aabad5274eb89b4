"""Many conversations at once over one model: prompts, states that are kept, turns, tokens. Nothing here knows HTTP."""
