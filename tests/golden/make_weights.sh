#!/bin/sh
# Fixture: writes the seeded ViT-B weights (SAM, SAMed, SAMed_s) into ./weights, once. Needs Python with NumPy: $SAMED_PYTHON, or python3.
# Ends with 77 where the shared data is absent; there being data but no NumPy is a failure.
set -u
if [ ! -f "${SAMED_SHARED:-}/golden/seeded_weights.py" ]; then
    echo "skipped: the golden vectors are not there (SAMED_SHARED)"
    exit 77
fi
[ -f weights/complete ] && exit 0
if ! "${SAMED_PYTHON:-python3}" "$SAMED_SHARED/golden/seeded_weights.py" weights; then
    echo "the golden weights need Python with NumPy: apt-get install python3-numpy, or set SAMED_PYTHON"
    exit 1
fi
touch weights/complete
