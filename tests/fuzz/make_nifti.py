#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/nifti and tests/fuzz/corpus/manifest: small volumes of both versions, both byte orders, with extensions, scaling
and odd orientations, and case lists. Run in the repository's root: python3 tests/fuzz/make_nifti.py"""
import gzip
import pathlib
import struct

TYPES = {"uint8": (2, 8), "int16": (4, 16), "float32": (16, 32), "uint64": (1280, 64)}


def nifti_1(order, kind, dims=(3, 3, 4, 2, 1, 1, 1, 1), extension=b"", slope=0.5, qform=1, sform=0, quatern=(.1, .2, .3), qfac=-1.0):
    code, bits = TYPES[kind]
    out = bytearray(352)
    struct.pack_into(order + "i", out, 0, 348)
    struct.pack_into(order + "8h", out, 40, *dims)
    struct.pack_into(order + "2h", out, 70, code, bits)
    struct.pack_into(order + "8f", out, 76, qfac, .7, .8, 2.5, 1, 1, 1, 1)
    struct.pack_into(order + "3f", out, 108, 352 + len(extension), slope, -3)
    out[123] = 10
    struct.pack_into(order + "2h", out, 252, qform, sform)
    struct.pack_into(order + "6f", out, 256, *quatern, 10, 20, 30)
    struct.pack_into(order + "12f", out, 280, 0, .8, 0, 1, .7, 0, 0, 2, 0, 0, -2.5, 3)
    out[344:348] = b"n+1\0"
    out[348] = 1 if extension else 0
    return bytes(out) + extension + bytes(range(24)) * (bits // 8)


def nifti_2(order, kind):
    code, bits = TYPES[kind]
    out = bytearray(544)
    struct.pack_into(order + "i8s2h8q", out, 0, 540, b"n+2\0\r\n\x1a\n", code, bits, 3, 3, 4, 2, 1, 1, 1, 1)
    struct.pack_into(order + "8d", out, 104, 1, .7, .8, 2.5, 1, 1, 1, 1)
    struct.pack_into(order + "q2d", out, 168, 544, 1, 0)
    struct.pack_into(order + "2i", out, 344, 0, 2)
    struct.pack_into(order + "12d", out, 400, .7, .1, 0, 1, 0, .8, 0, 2, 0, 0, 2.5, 3)
    struct.pack_into(order + "i", out, 500, 2)
    return bytes(out) + bytes(range(24)) * (bits // 8)


TWO_EXTENSIONS = struct.pack("<ii", 32, 0) + b"<names/>".ljust(24, b"\0") + struct.pack("<ii", 16, 6) + bytes(8)
NAN = float("nan")
VOLUMES = {
    "uint8.nii": nifti_1("<", "uint8"),
    "int16_big.nii": nifti_1(">", "int16"),
    "float32.nii": nifti_1("<", "float32", slope=0.0, qform=0),
    "sform.nii": nifti_1("<", "int16", qform=0, sform=4),
    "half_turn.nii": nifti_1("<", "int16", quatern=(0, 0, 1.0), qfac=0.0),
    "no_rotation.nii": nifti_1("<", "int16", quatern=(2, 3, NAN)),
    "extensions.nii": nifti_1("<", "int16", extension=TWO_EXTENSIONS),
    "plane.nii": nifti_1("<", "int16", dims=(2, 6, 4, 1, 1, 1, 1, 1)),
    "one_volume.nii": nifti_1("<", "int16", dims=(4, 3, 4, 2, 1, 1, 1, 1)),
    "version_2.nii": nifti_2("<", "uint64"),
    "version_2_big.nii": nifti_2(">", "float32"),
    "packed.nii.gz": gzip.compress(nifti_1("<", "int16"), 9, mtime=0),
}
LISTS = {
    "plain.tsv": b"case1\tscan1.nii.gz\ncase2\t/data/scan2.nii\n",
    "head.tsv": b"\xef\xbb\xbfid\tpath\r\n# two\r\n\r\nb\tb.nii\r\na\tsub/a.hdr\r\n",
    "twice.tsv": b"a\tx.nii\nb\ty.nii\na\tz.nii\n",
    "unsafe.tsv": b"../a\tx.nii\n..\tx\n\ty\n",
    "columns.tsv": b"a\tb\tc\na b\n\t\n",
    "utf8.tsv": "Mägen\tübung.nii\n".encode(),
}


def write(folder, files):
    folder = pathlib.Path("tests/fuzz/corpus", folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        assert len(data) <= 2048, name
        (folder / name).write_bytes(data)


write("nifti", VOLUMES)
write("manifest", LISTS)
