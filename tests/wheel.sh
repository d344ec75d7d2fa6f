#!/bin/sh
# Build the wheel, install it into a bare environment and run its demo there, outside the checkout.
# Usage: wheel.sh PYTHON PYTHON_WITH_BUILD
set -eu
python=$1
builder=$2
checkout=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$builder" -m build --wheel --outdir "$work/dist" "$checkout" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" -m venv "$work/bare"
"$work/bare/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$checkout/.pins.txt" "$work"/dist/*.whl
cd "$work"
"$work/bare/bin/files-source" demo --files 2000
"$work/bare/bin/python" -c 'import files_source, sys; sys.exit(not files_source.__file__.startswith(sys.prefix))'
