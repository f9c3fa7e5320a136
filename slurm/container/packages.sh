#!/bin/sh
# What an installed samed needs to run, for the images of Dockerfile and samed.def (Debian, Ubuntu).   Usage:
#   packages.sh list PREFIX      where it was built: prints the packages with the libraries of program and plug-in, one per line
#   packages.sh install PREFIX   in an image of the same distribution, with that list in PREFIX/packages: installs them, and what starts ranks
# CUDA's own libraries, below /usr/local, are in no list: they come with NVIDIA's images.
#
# Ends: 0 · 1 a library belongs to no package, or is not there · otherwise apt-get's code.
set -eu

# What the dynamic linker says of the program and the plug-in in PREFIX.
ask_linker() {
    for file in "$1/bin/samed" $(find "$1/lib" -name '*.so' 2>/dev/null); do ldd "$file"; done
}

# The package of a library; where /lib is a link to /usr/lib, dpkg may know it under either name.
find_owner() {
    place=$(readlink -f "$1")
    { dpkg -S "$place" || dpkg -S "${place#/usr}"; } 2>/dev/null | sed -n '1s/:.*//p' | grep . || {
        echo "packages.sh: $1 belongs to no package" >&2
        return 1
    }
}

check_all_found() {
    said=$(ask_linker "$1")
    if printf '%s\n' "$said" | grep 'not found' >&2; then
        echo "packages.sh: libraries of $1 are missing" >&2
        return 1
    fi
}

list() {
    check_all_found "$1"
    owners=''
    for library in $(printf '%s\n' "$said" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u); do
        case $library in /usr/local/*) continue ;; esac
        owner=$(find_owner "$library")
        owners="$owners$owner
"
    done
    printf %s "$owners" | sort -u
}

install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2046 # one word for each package
    apt-get install -y -qq --no-install-recommends openmpi-bin $(cat "$1/packages")
    rm -rf /var/lib/apt/lists/*
    check_all_found "$1"
}

case ${1:-}:$# in
list:2 | install:2) "$1" "$2" ;;
*)
    sed -n '2,4p' "$0" >&2
    exit 1
    ;;
esac
