#!/bin/sh
# Prints where a Chromium is, and installs Debian's if there is none and it may; else says why on standard error.
for name in "$CHROMIUM" chromium chromium-browser google-chrome-stable google-chrome; do
    [ -n "$name" ] && command -v "$name" && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    { apt-get update && apt-get install --yes --no-install-recommends chromium; } > /dev/null 2>&1
    command -v chromium && exit 0
    why="apt-get cannot install one"
else
    why="and this account may not install one"
fi
echo "the page's tests are skipped: there is no Chromium, $why; name one in CHROMIUM" >&2
exit 1
