#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/slices, with the zstd program, and tests/fuzz/corpus/npz, with NumPy; tests/io/test_npz.c reads the latter too.
Run in the repository's root: PYTHONPATH=tests/refuse python3 tests/fuzz/make_slices.py        # made with NumPy 2.4.6"""
import pathlib

import numpy as np
from make_refuse_slices import FILES, content, frame, head, slices

CORPUS = pathlib.Path("tests/fuzz/corpus")
TYPES = ["<f4", "<f8", "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"]
BROKEN = ["bad_checksum", "label_above", "gap", "two_frames", "deflate_damaged", "deflate_short", "three_axes", "more_values"]


def image(dtype):
    """Value (r, c) of 5 x 7: 7 r + c, with a quarter more for floats and 9 less for signed integers; 0 and 1 for booleans."""
    values = np.arange(35).reshape(5, 7)
    kind = np.dtype(dtype).kind
    return (values % 2 if kind == "b" else values + 0.25 if kind == "f" else values - 9 if kind == "i" else values).astype(dtype)


def main():
    for name in ("slices", "npz"):
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for broken in BROKEN:
            if f"{broken}.{name}" in FILES:
                (folder / f"{broken}.{name}").write_bytes(FILES[f"{broken}.{name}"][0])
    (CORPUS / "slices" / "good.slices").write_bytes(slices())
    wide = [frame(content(0, label=300, label_bytes=2))]
    (CORPUS / "slices" / "wide.slices").write_bytes(slices(frames=wide, header=head(slices=1, classes=300, label_bytes=2), size=72))
    label = np.zeros((5, 7), np.uint8)
    for dtype in TYPES:
        np.savez(CORPUS / "npz" / f"stored_{dtype[1:]}.npz", image=image(dtype), label=label)
    np.savez_compressed(CORPUS / "npz" / "deflated_f4.npz", label=label, image=image("<f4"))
    np.savez(CORPUS / "npz" / "fortran_f4.npz", image=np.asfortranarray(image("<f4")))


if __name__ == "__main__":
    main()
