"""`python -m rrwkv_export`: the same as `rrwkv`."""

from rrwkv_export.commands import main

if __name__ == "__main__":
    main()
