#!/usr/bin/env bash
# Builds for release and measures samed next to its peers; see bench.py for the sections and what has to be installed.
# Usage: bash tests/bench/bench.sh [SECTION...] [OPTION...]     The machine should be idle. Ends with bench.py's code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash tests/setup.sh build test
cmake --preset release >/dev/null
cmake --build --preset release -- --quiet
exec "${SAMED_PYTHON:-python3}" tests/bench/bench.py "$@"
