#!/usr/bin/env bash
# The README's first command: installs what is missing, builds, and segments a real MR volume (ch2bet, from Debian's mricron-data) and a
# synthetic CT with random weights.  Usage: tests/demo.sh [FOLDER]   (default: build/demo)
#
# Ends with 0 and says where the label maps and their pictures lie; otherwise with the code of what failed. Started again, it redoes
# nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly mr=/usr/share/mricron/templates/ch2bet.nii.gz
readonly folder=${1:-build/demo}

bash tests/setup.sh build demo
printf '== build/release\n'
cmake --preset release >/dev/null
cmake --build --preset release -- --quiet
readonly samed=build/release/jobs/samed

# Tells where the results of one case lie, and fails if one is not there.
show() {
    local file
    for file in "$1_dseg.nii.gz" "$1_preview.png"; do
        [ -s "$file" ] || { printf 'demo: %s is missing\n' "$file" >&2; return 1; }
    done
    printf '  %s\n    label map  %s\n    picture    %s\n' "$2" "$1_dseg.nii.gz" "$1_preview.png"
}

if [ ! -f "$folder/samed_vit_b.pth" ]; then
    printf '== a synthetic CT and random weights\n'
    "$samed" phantom -o "$folder" --cases 1 --seed 1 --size 256 256 40 --weights vit_b -q
fi
readonly weights=(--sam "$folder/sam_vit_b.pth" --adapter "$folder/samed_vit_b.pth")
printf '== segmenting the CT\n'
"$samed" segment -i "$folder/imagesTr" -o "$folder/ct" "${weights[@]}" --preview --stats
if [ -f "$mr" ]; then
    printf '== segmenting the MR\n'
    "$samed" segment -i "$mr" -o "$folder/mr" "${weights[@]}" --percentile 1 99 --preview --stats
fi

printf '\nDone:\n'
show "$folder/ct/case_0000_0000" 'synthetic CT (its true labels: labelsTr/case_0000.nii.gz)'
[ ! -f "$mr" ] || show "$folder/mr/ch2bet" 'MR ch2bet'
cat <<'END'
The weights are random numbers: what they draw are not organs and means nothing.
For a real study take SAM's and SAMed's files; README.md says where they are.
END
