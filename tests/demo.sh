#!/usr/bin/env bash
# The README's first command: installs what is missing, builds, draws synthetic patients, trains a small SAM on sixteen of them (twelve to
# learn from, four to choose the best weights with), segments four that it never saw and compares them with their true organs. Where the
# MR volume ch2bet lies (Debian's mricron-data) it is segmented too.  Usage: tests/demo.sh [FOLDER]   (default: build/demo)
#
# Ends with 0, the scores and where to look; otherwise with the code of what failed. Started again, it goes on and redoes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly mr=/usr/share/mricron/templates/ch2bet.nii.gz
readonly folder=${1:-build/demo}

bash tests/setup.sh build demo
printf '== build/release\n'
cmake --preset release -DSAMED_CUDA="${SAMED_CUDA:-OFF}" >/dev/null # nvcc takes longer than the demo
cmake --build --preset release -- --quiet
readonly samed=build/release/jobs/samed

# Draws synthetic patients: folder, number, seed, more options. Nothing twice: a dataset.json is written last.
draw() {
    [ -f "$folder/$1/dataset.json" ] || "$samed" phantom -q -o "$folder/$1" --cases "$2" --seed "$3" --size 256 256 24 "${@:4}"
}

printf '== 16 synthetic patients with their organs, a small SAM with random weights; 4 other patients\n'
draw study 16 1 --weights small
draw new 4 2

printf '== prepare: slices for training, 4 of the 16 patients held out\n'
"$samed" prepare -i "$folder/study" -o "$folder/store" --folds 4

printf '== train: LoRA and decoder, 12 epochs (minutes on two cores)\n'
readonly weights=(--sam "$folder/study/sam_small.pth" --image-size 256)
"$samed" train -d "$folder/store" -o "$folder/run" "${weights[@]}" --epochs 12 --global-batch 12 --lr 0.002 --warmup 20 --keep 12 \
    --validate-every 4

printf '== segment the 4 new patients\n'
readonly trained=("${weights[@]}" --adapter "$folder/run/adapter_best.pth")
"$samed" segment -i "$folder/new/imagesTr" -o "$folder/maps" "${trained[@]}" --preview --stats

printf '== evaluate\n'
"$samed" evaluate -p "$folder/maps" -r "$folder/new/labelsTr" --images "$folder/new/imagesTr" -o "$folder/report"
if [ -f "$mr" ]; then
    printf '== segment an MR, only to show that real files pass: the network knows no MR, what it draws means nothing\n'
    "$samed" segment -i "$mr" -o "$folder/mr" "${trained[@]}" --percentile 1 99 --preview
fi

printf '\nFour patients that the training never saw:\n\n  %-14s %5s %9s\n' organ DSC 'HD95 mm'
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
    $column["convention"] != "reloaded" { next }
    $column["metric"] == "dsc" { dsc[$1] = $column["mean"] }
    $column["metric"] == "hd95" { printf "  %-14s %5.3f %9.1f\n", $1, dsc[$1], $column["mean"] }' "$folder/report/summary.csv"
printf '\nLook at:\n'
tell() { printf '  %s\n      %s\n' "$folder/$1" "$2"; }
tell report/report.html 'scores, box plots, the worst cases with contours of truth and prediction'
tell maps/case_0000_0000_preview.png 'what was found in a patient; case_0000_0000_dseg.nii.gz is its label map'
tell run/train.html 'how the training went'
[ ! -f "$mr" ] || tell mr/ch2bet_preview.png 'the MR'
printf '\nFor a real study take SAM and SAMed, or train on your own images; README.md says how.\n'
