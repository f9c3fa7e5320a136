#!/bin/sh
# Two ranks of the samed on the path segment a synthetic patient, as the last step of an image.   Usage: check.sh
# Ends: 0 · 1 no label map was made · otherwise the code of samed or mpirun.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
samed phantom -q -o "$folder" --cases 1 --size 40 36 3 --weights tiny
mpirun --allow-run-as-root --oversubscribe -n 2 samed segment -q --ranks 2 -i "$folder/imagesTr" -o "$folder/out" \
    --sam "$folder/sam_tiny.pth" --adapter "$folder/samed_tiny.pth" --image-size 64 --device cpu
[ -s "$folder/out/case_0000_0000_dseg.nii.gz" ] || {
    echo 'check.sh: no label map was made' >&2
    exit 1
}
samed --version
