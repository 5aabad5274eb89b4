"""The command line of this package, and what `rrwkv` shares with it."""
