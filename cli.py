from rrwkv_export.commands import main

main()
