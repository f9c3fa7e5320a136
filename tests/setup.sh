#!/usr/bin/env bash
# Makes sure that what samed needs is installed.  Usage: tests/setup.sh [build] [test] [cluster] [demo]   (default: build)
#
# Every need is probed by use (a command, a header, a pkg-config name), so libraries from Spack, conda-forge or environment modules
# count. What is missing is installed with apt-get where that is possible, that is as root on Debian or Ubuntu; elsewhere the packages
# are listed with their names for apt, Spack and conda-forge.
#
# "test" also installs what more tests run with (nibabel, SciPy, Chromium), where it can, and names what is left to the user; without them
# those tests skip.
#
# Ends: 0 everything is there · 3 something is missing and must be installed by the user · 1 apt-get failed.
set -euo pipefail

# what | purpose | probe | apt | Spack | conda-forge
readonly needs='
C compiler|build|command:cc|build-essential|gcc|c-compiler
CMake >= 3.22|build|cmake:3.22|cmake|cmake|cmake
Ninja|build|command:ninja|ninja-build|ninja|ninja
pkg-config|build|command:pkg-config|pkg-config|pkgconf|pkg-config
MPI compiler|build|command:mpicc|libopenmpi-dev|openmpi|openmpi
MPI launcher|build|command:mpirun|openmpi-bin|openmpi|openmpi
oneDNN|build|header:dnnl.h|libdnnl-dev|onednn|onednn
ISA-L|build|pkg:libisal|libisal-dev|isa-l|isa-l
Zstandard|build|pkg:libzstd|libzstd-dev|zstd|zstd
cJSON|build|pkg:libcjson|libcjson-dev|cjson|cjson
OpenSSL|build|pkg:libcrypto|libssl-dev|openssl|openssl
libpng|build|pkg:libpng|libpng-dev|libpng|libpng
nifti_clib|build|header:nifti2.h nifti/nifti2.h|libnifti-dev|-|nifti-clib
Random123|build|header:Random123/philox.h|librandom123-dev|random123|-
cmocka|test|pkg:cmocka|libcmocka-dev|cmocka|cmocka
Python 3|test|command:python3|python3|python|python
NumPy|test|python:numpy|python3-numpy|py-numpy|numpy
nibabel and SciPy|extra|python:nibabel scipy|python3-nibabel|py-nibabel py-scipy|nibabel scipy
ShellCheck|test|command:shellcheck|shellcheck|shellcheck|shellcheck
Chromium|extra|command:chromium chromium-browser google-chrome|chromium|-|-
Slurm controller|cluster|command:slurmctld|slurmctld|-|-
Slurm node daemon|cluster|command:slurmd|slurmd|-|-
Slurm clients|cluster|command:sbatch|slurm-client|-|-
Munge|cluster|command:munged|munge|-|-
ip|cluster|command:ip|iproute2|-|-
ch2bet, an MR volume|demo|file:/usr/share/mricron/templates/ch2bet.nii.gz|mricron-data|-|-
'

# The folders in which a package manager other than the system's keeps its headers, as -I options, one per line.
list_include_options() {
    local prefixes="${CMAKE_PREFIX_PATH:-}:${CONDA_PREFIX:-}" prefix
    while IFS= read -r -d ':' prefix; do
        [ -z "$prefix" ] || printf '%s\n' "-I$prefix/include"
    done <<<"$prefixes:"
}

has_header() {
    local options header
    mapfile -t options < <(list_include_options)
    for header in "$@"; do
        if echo "#include <$header>" | cc ${options[@]+"${options[@]}"} -E -x c - >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

has_cmake() {
    local found
    found=$(cmake --version 2>/dev/null | sed -n '1s/[^0-9]*//p')
    [ -n "$found" ] && [ "$(printf '%s\n%s\n' "$1" "$found" | sort -V | head -n 1)" = "$1" ]
}

# The Python that the tests take is the first of these with NumPy, as in tests/CMakeLists.txt; it should have the other modules too.
has_modules() {
    local python
    for python in "${SAMED_PYTHON:-}" python3 /usr/bin/python3; do
        if [ -n "$python" ] && "$python" -c 'import numpy' >/dev/null 2>&1; then
            "$python" -c "import ${1// /, }" >/dev/null 2>&1
            return
        fi
    done
    return 1
}

is_there() {
    local kind=${1%%:*} what=${1#*:}
    case $kind in
    command) # shellcheck disable=SC2086 # a list of names, any of which will do
        command -v $what >/dev/null ;;
    cmake) has_cmake "$what" ;;
    pkg) pkg-config --exists "$what" 2>/dev/null ;;
    header) # shellcheck disable=SC2086 # a list of spellings
        has_header $what ;;
    python) has_modules "$what" ;;
    file) [ -f "$what" ] ;;
    esac
}

# Prints the lines of the table that serve one of the purposes and whose probe fails.
list_missing() {
    local line purpose probe
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        IFS='|' read -r _ purpose probe _ <<<"$line"
        if [[ " $* " == *" $purpose "* ]] && ! is_there "$probe"; then printf '%s\n' "$line"; fi
    done <<<"$needs"
}

# The given column of the lines, as one sorted line of names without repeats.
list_column() {
    cut -d '|' -f "$2" <<<"$1" | grep -v '^-$' | sort -u | paste -s -d ' ' - || true
}

list_names() {
    cut -d '|' -f 1 <<<"$1" | paste -s -d ',' - | sed 's/,/, /g'
}

install_with_apt() {
    local packages
    read -r -a packages <<<"$(list_column "$1" 4)"
    printf 'setup: installing %s\n' "${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null
    apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >/dev/null
}

explain() {
    {
        printf 'setup: missing: %s\n' "$(list_names "$1")"
        printf '\nInstall them, then start again:\n'
        printf '  Debian, Ubuntu   sudo apt-get install %s\n' "$(list_column "$1" 4)"
        printf '  Spack            spack install %s\n' "$(list_column "$1" 5)"
        printf '  conda-forge      conda install -c conda-forge %s\n' "$(list_column "$1" 6)"
        printf '\nNot known to Spack: nifti_clib (https://github.com/NIFTI-Imaging/nifti_clib); to conda-forge: Random123, headers only\n'
        printf '(https://github.com/DEShawResearch/random123). Name the folder they are installed in: export CMAKE_PREFIX_PATH=...\n'
    } >&2
}

# Tests skip without these, so that nothing fails here.
offer_extras() {
    local missing
    missing=$(list_missing extra)
    if [ -n "$missing" ] && can_install; then install_with_apt "$missing" || true; fi
    missing=$(list_missing extra)
    [ -z "$missing" ] || printf 'setup: optional, tests that need it skip: %s (apt: %s)\n' "$(list_names "$missing")" "$(list_column "$missing" 4)"
}

can_install() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null
}

main() {
    local missing
    [ $# -gt 0 ] || set -- build
    command -v apt-get >/dev/null || set -- "${@/demo/}" # the demo's volume is a Debian package; elsewhere it does without
    # A cluster of its own needs root, and the packages are Debian's; elsewhere its tests skip.
    can_install || set -- "${@/cluster/}"
    if [[ " $* " == *" test "* ]]; then offer_extras; fi
    missing=$(list_missing "$@")
    [ -n "$missing" ] || return 0
    if can_install; then
        install_with_apt "$missing" || { printf 'setup: apt-get failed; see above\n' >&2; return 1; }
        missing=$(list_missing "$@")
        [ -n "$missing" ] || return 0
    fi
    explain "$missing"
    return 3
}

main "$@"
