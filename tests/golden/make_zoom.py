#!/usr/bin/env python3
"""Writes zoom.bin: what scipy.ndimage.zoom makes of small and of the usual slice sizes, for tests/pipeline/test_zoom.c.

    python3 tests/golden/make_zoom.py tests/golden/zoom.bin        # made with SciPy 1.17.1, NumPy 2.4.6

Little-endian records until the end of the file: int32 in_rows, in_cols, out_rows, out_cols, step; then those rows of the order-3 result
(float32) whose number is a multiple of step or the last, then the same rows of the order-0 result (uint16). The input is not stored:
pixel (r, c) is (7919 r + 104729 c + 31 r c) mod 1009, divided by 1008 in float32 for order 3.
"""
import sys

import numpy as np
from scipy.ndimage import zoom

CASES = [  # in, out, step
    ((512, 512), (224, 224), 32),  # the last row and column are zero
    ((480, 480), (224, 224), 64),  # so here
    ((512, 480), (224, 224), 64),
    ((224, 224), (512, 512), 128),
    ((224, 512), (224, 224), 64),
    ((101, 77), (224, 224), 64),
    ((33, 47), (64, 60), 16),
    ((45, 43), (43, 45), 16),
    ((41, 40), (39, 42), 16),
    ((1, 1), (5, 7), 1),
    ((1, 9), (4, 4), 1),
    ((9, 1), (4, 1), 1),
    ((7, 5), (1, 1), 1),
    ((2, 2), (3, 3), 1),
    ((2, 3), (17, 5), 1),
    ((3, 3), (3, 3), 1),
]


def pixels(size):
    r = np.arange(size[0], dtype=np.int64)[:, None]
    c = np.arange(size[1], dtype=np.int64)[None, :]
    return (7919 * r + 104729 * c + 31 * r * c) % 1009


def main():
    with open(sys.argv[1], "wb") as file:
        for size, out, step in CASES:
            factors = (out[0] / size[0], out[1] / size[1])
            values = pixels(size)
            cubic = zoom((values.astype(np.float32) / np.float32(1008)), factors, order=3)
            nearest = zoom(values.astype(np.uint16), factors, order=0)
            assert cubic.shape == nearest.shape == out
            rows = [r for r in range(out[0]) if r % step == 0 or r == out[0] - 1]
            file.write(np.array([*size, *out, step], "<i4").tobytes())
            file.write(cubic[rows].astype("<f4").tobytes())
            file.write(nearest[rows].astype("<u2").tobytes())


if __name__ == "__main__":
    main()
