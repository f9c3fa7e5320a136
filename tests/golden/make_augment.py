#!/usr/bin/env python3
"""Writes augment.tsv: what scipy.ndimage.rotate and numpy.rot90 + flip make of square arrays, for tests/pipeline/test_augment.c.

    python3 tests/golden/make_augment.py > tests/golden/augment.tsv        # made with SciPy 1.17.1, NumPy 2.4.6

One line per result: size, kind (rotate or flip), angle or quarter turns, axis, FNV-1a hash (64 bits, hexadecimal) of its pixels in C order as
little-endian uint16. The input is not stored: pixel (r, c) is 1 + (r * size + c) mod 65521, so nearly every pixel differs from every other
and none is 0, the value outside.
"""
import numpy as np
from scipy import ndimage

SIZES = [224, 33, 47, 64, 5, 2]


def fnv(array):
    value = 0xCBF29CE484222325
    for byte in np.ascontiguousarray(array).astype("<u2").tobytes():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def main():
    for size in SIZES:
        pixels = (1 + np.arange(size * size) % 65521).reshape(size, size)
        for angle in range(-20, 20):
            print(size, "rotate", angle, 0, fnv(ndimage.rotate(pixels, angle, order=0, reshape=False)), sep="\t")
        for k in range(4):
            for axis in range(2):
                print(size, "flip", k, axis, fnv(np.flip(np.rot90(pixels, k), axis)), sep="\t")


if __name__ == "__main__":
    main()
