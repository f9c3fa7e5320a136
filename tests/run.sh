#!/usr/bin/env bash
# Everything that is tested: installs what is missing (tests/setup.sh), then
#   1. the unit tests, built with AddressSanitizer and UndefinedBehaviorSanitizer (build/asan),
#   2. all tests on the release build (build/release), last, so that the final lines are the summary of the whole suite.
#
# Ends with ctest's summary and 0 when everything passed; otherwise at the first of setup, builds and tests that failed, with its code.
# A run without tests is a failure. Arguments go to both ctest calls, for example: tests/run.sh -R io.gzip
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Continuous integration takes warnings as errors; a user with another compiler is not stopped by them.
build() {
    local werror=OFF
    [ "${CI:-}" != true ] || werror=ON
    printf '== build/%s\n' "$1"
    # For all architectures nvcc takes longer than all tests together; cuda.compile takes one of them. SAMED_CUDA=AUTO tests/run.sh builds the
    # plug-in too.
    cmake --preset "$1" -DSAMED_WERROR=$werror -DSAMED_CUDA="${SAMED_CUDA:-OFF}" >/dev/null
    cmake --build --preset "$1" -- --quiet
}

bash tests/setup.sh build test cluster
build asan
build release
printf '== unit tests under AddressSanitizer and UndefinedBehaviorSanitizer\n'
ctest --preset asan "$@"
printf '== all tests\n'
ctest --preset release "$@"
