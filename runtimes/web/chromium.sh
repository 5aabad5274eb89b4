#!/bin/sh
# Prints where a Chromium is, and installs Debian's if there is none and it may. Else status 77, and a line says why.
for name in "$CHROMIUM" chromium chromium-browser google-chrome-stable google-chrome \
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
    [ -n "$name" ] && command -v "$name" && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    { apt-get update && apt-get install --yes --no-install-recommends chromium; } > /dev/null 2>&1
    command -v chromium && exit 0
    why="apt-get cannot install one"
else
    why="and this account may not install one"
fi
echo "tests in a browser are skipped: there is no Chromium, $why; name one in CHROMIUM" >&2
exit 77
