#!/usr/bin/env python3
"""Writes tests/refuse/files: files that must be refused, each for one reason, and its rows of expected.tsv (file, reader, status).
Rows of readers that this script does not know are kept. Run in the repository's root: python3 tests/refuse/make_refuse.py
Needs the zstd and xz programs."""
import gzip
import pathlib
import struct
import subprocess

FOLDER = pathlib.Path("tests/refuse/files")
TABLE = pathlib.Path("tests/refuse/expected.tsv")
OUR_READERS = ("nifti", "labels", "manifest")
ROWS = []

# Offsets of NIfTI-1 fields (nifti1.h) with their struct format.
FIELDS = {"sizeof_hdr": (0, "i"), "dim": (40, "8h"), "intent_code": (68, "h"), "datatype": (70, "h"), "bitpix": (72, "h"),
          "pixdim": (76, "8f"), "vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f"), "qform_code": (252, "h"),
          "sform_code": (254, "h"), "srow": (280, "12f"), "magic": (344, "4s")}


def header(**changes):
    """A good NIfTI-1 header for 8 x 7 x 6 int16 voxels, with some fields changed."""
    values = {"sizeof_hdr": 348, "dim": (3, 8, 7, 6, 1, 1, 1, 1), "datatype": 4, "bitpix": 16, "pixdim": (1, .8, .8, 3, 0, 0, 0, 0),
              "vox_offset": 352.0, "scl_slope": 1.0, "scl_inter": 0.0, "sform_code": 1, "magic": b"n+1\0",
              "srow": (.8, 0, 0, -10, 0, .8, 0, -20, 0, 0, 3, -30)}
    values.update(changes)
    out = bytearray(348)
    for name, value in values.items():
        offset, form = FIELDS[name]
        struct.pack_into("<" + form, out, offset, *(value if isinstance(value, tuple) else (value,)))
    return bytes(out)


VOXELS = b"".join(struct.pack("<h", i * 7 % 400 - 100) for i in range(8 * 7 * 6))
GOOD = header() + bytes(4) + VOXELS


def nifti(**changes):
    return header(**changes) + bytes(4) + VOXELS


def nifti_2(dim=(3, 8, 7, 6, 1, 1, 1, 1), magic=b"n+2\0\r\n\x1a\n"):
    out = bytearray(540)
    struct.pack_into("<i8shh8q", out, 0, 540, magic, 4, 16, *dim)
    struct.pack_into("<q2d", out, 168, 544, 1.0, 0.0)
    return bytes(out) + bytes(4) + VOXELS


def packed(data):
    return gzip.compress(data, 9, mtime=0)


def run(data, *command):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def changed(data, offset, value):
    return data[:offset] + value + data[offset + len(value):]


def put(name, reader, status, data):
    (FOLDER / name).write_bytes(data)
    if status:
        ROWS.append((name, reader, status))


def put_damaged_files():
    put("truncated.nii", "nifti", "truncated", GOOD[:-1])
    put("truncated_header.nii", "nifti", "truncated", GOOD[:200])
    put("truncated_header_2.nii", "nifti", "truncated", nifti_2()[:400])
    put("empty.nii", "nifti", "truncated", b"")
    put("empty_inside.nii.gz", "nifti", "truncated", packed(b""))
    put("truncated.nii.gz", "nifti", "truncated", packed(GOOD)[:-20])
    put("truncated_inside.nii.gz", "nifti", "truncated", packed(GOOD[:-100]))
    good = packed(GOOD)
    put("bad_crc.nii.gz", "nifti", "checksum", changed(good, len(good) - 8, b"\xde\xad\xbe\xef"))
    put("bad_length.nii.gz", "nifti", "checksum", changed(good, len(good) - 4, struct.pack("<I", 12345)))
    zst = run(GOOD, "zstd", "-q", "-c", "--check")
    put("truncated.nii.zst", "nifti", "truncated", zst[:-30])
    put("bad_checksum.nii.zst", "nifti", "checksum", changed(zst, len(zst) - 4, b"\0\1\2\3"))
    # A small file that goes on for 8 MB behind its voxels, and one whose header promises 105 MB that it cannot hold.
    put("bomb_behind_voxels.nii.gz", "nifti", "format", packed(GOOD + bytes(1 << 23)))
    put("bomb_promised.nii.gz", "nifti", "truncated", packed(nifti(dim=(3, 512, 512, 200, 1, 1, 1, 1))))
    put("bomb_promised.nii", "nifti", "truncated", nifti(dim=(3, 32767, 32767, 32767, 1, 1, 1, 1)))


def put_impossible_headers():
    put("dim0_is_0.nii", "nifti", "range", nifti(dim=(0, 8, 7, 6, 1, 1, 1, 1)))
    put("dim0_is_8.nii", "nifti", "range", nifti(dim=(8, 8, 7, 6, 1, 1, 1, 1)))
    put("dim_is_0.nii", "nifti", "range", nifti(dim=(3, 8, 0, 6, 1, 1, 1, 1)))
    put("dim_is_negative.nii", "nifti", "range", nifti(dim=(3, -8, 7, 6, 1, 1, 1, 1)))
    put("dims_overflow.nii", "nifti", "range", nifti_2(dim=(3, 1 << 31, 1 << 31, 1 << 31, 1, 1, 1, 1)))
    put("four_volumes.nii", "nifti", "unsupported", nifti(dim=(4, 8, 7, 3, 2, 1, 1, 1)))
    put("vectors.nii", "nifti", "unsupported", nifti(dim=(5, 8, 7, 2, 1, 3, 1, 1)))
    for name, value in (("nan", float("nan")), ("infinite", float("inf"))):
        put(f"slope_is_{name}.nii", "nifti", "range", nifti(scl_slope=value))
        put(f"inter_is_{name}.nii", "nifti", "range", nifti(scl_inter=value))
        put(f"offset_is_{name}.nii", "nifti", "range", nifti(vox_offset=value))
    put("offset_in_header.nii", "nifti", "range", nifti(vox_offset=100.0))
    put("offset_is_0.nii", "nifti", "range", nifti(vox_offset=0.0))
    put("offset_is_broken.nii", "nifti", "range", nifti(vox_offset=352.5))
    put("offset_is_far.nii", "nifti", "truncated", nifti(vox_offset=1e9))
    put("bitpix_is_8.nii", "nifti", "mismatch", nifti(bitpix=8))
    for name, code, bits in (("binary", 1, 1), ("complex64", 32, 64), ("rgb24", 128, 24), ("float128", 1536, 128), ("complex128", 1792, 128),
                             ("complex256", 2048, 256), ("rgba32", 2304, 32), ("unknown", 999, 16), ("none", 0, 0)):
        put(f"type_is_{name}.nii", "nifti", "unsupported", nifti(datatype=code, bitpix=bits))
    put("size_is_349.nii", "nifti", "format", nifti(sizeof_hdr=349))
    put("magic_is_wrong.nii", "nifti", "format", nifti(magic=b"n+9\0"))
    put("analyze.nii", "nifti", "unsupported", nifti(magic=b"\0\0\0\0"))
    put("text_mode.nii", "nifti", "format", nifti_2(magic=b"n+2\0\n\x1a\n\0"))
    for name, size in (("too_long", 1 << 20), ("negative", -16), ("tiny", 4)):
        body = b"\1\0\0\0" + struct.pack("<ii", size, 6) + bytes(24) + VOXELS
        put(f"extension_is_{name}.nii", "nifti", "format", header(vox_offset=384.0) + body)


def put_pairs():
    put("lonely_header.hdr", "nifti", "not_found", header(magic=b"ni1\0", vox_offset=0.0))
    put("lonely_image.img", "nifti", "not_found", VOXELS)
    put("pair_magic.nii", "nifti", "format", nifti(magic=b"ni1\0"))
    put("single_magic.hdr", "nifti", "format", nifti())
    put("single_magic.img", "nifti", "format", VOXELS)
    put("short_image.hdr", "nifti", "truncated", header(magic=b"ni1\0", vox_offset=0.0))
    put("short_image.img", "nifti", "truncated", VOXELS[:-2])
    put("bad_image_crc.hdr", "nifti", "checksum", header(magic=b"ni1\0", vox_offset=0.0))
    put("bad_image_crc.img.gz", "nifti", "checksum", changed(packed(VOXELS), len(packed(VOXELS)) - 8, b"\1\2\3\4"))


def put_foreign_formats():
    rest = bytes(600)
    put("dicom.nii", "nifti", "format", bytes(128) + b"DICM" + rest)
    put("dicom.nii.gz", "nifti", "format", packed(bytes(128) + b"DICM" + rest))
    put("nrrd.nii", "nifti", "format", b"NRRD0004\ntype: short\n" + rest)
    put("metaimage.nii", "nifti", "format", b"ObjectType = Image\nNDims = 3\n")
    put("mgh.nii.gz", "nifti", "format", packed(struct.pack(">7i", 1, 256, 256, 128, 1, 0, 0) + rest))
    put("png.nii", "nifti", "format", b"\x89PNG\r\n\x1a\n" + rest)
    put("jpeg.nii", "nifti", "format", b"\xff\xd8\xff\xe0\0\x10JFIF" + rest)
    put("hdf5.nii", "nifti", "format", b"\x89HDF\r\n\x1a\n" + rest)
    put("netcdf.nii", "nifti", "format", b"CDF\1" + rest)
    put("zip.nii", "nifti", "format", b"PK\3\4" + rest)
    put("tar.nii", "nifti", "format", b"scan.nii".ljust(257, b"\0") + b"ustar" + rest)
    put("twice.nii.gz", "nifti", "format", packed(packed(GOOD) + rest))
    put("xz.nii", "nifti", "format", run(GOOD, "xz", "-c"))
    put("numpy.nii", "nifti", "format", b"\x93NUMPY\1\0" + rest)
    put("web_page.nii", "nifti", "format", b"<!DOCTYPE html>\n<html><title>404</title></html>\n")
    put("lfs_pointer.nii.gz", "nifti", "format", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    put("annex_pointer.nii.gz", "nifti", "format", b"/annex/objects/MD5E-s1--0.nii.gz\n")
    put("noise.nii", "nifti", "format", bytes(i * 37 % 251 for i in range(700)))


def put_texts():
    put("region.json", "labels", "unsupported", b'{"labels": {"background": 0, "whole": [1, 2]}}\n')
    put("two_names.json", "labels", "mismatch", b'{"labels": {"1": "liver", "01": "spleen"}}\n')
    put("label_too_large.json", "labels", "range", b'{"labels": {"liver": 70000}}\n')
    put("not_json.json", "labels", "format", b"liver: 1\n")
    put("no_tab.tsv", "manifest", "format", b"case1 scan.nii\n")
    put("no_case.tsv", "manifest", "format", b"# nothing\n")
    put("id_twice.tsv", "manifest", "argument", b"a\tx.nii\na\ty.nii\n")
    put("id_leaves_folder.tsv", "manifest", "argument", b"../a\tx.nii\n")
    put("zero_byte.tsv", "manifest", "format", b"a\tx\0y.nii\n")


def main():
    FOLDER.mkdir(exist_ok=True)
    old = [line.split("\t") for line in TABLE.read_text().splitlines()[1:]] if TABLE.exists() else []
    for name, reader, _ in old:
        if reader in OUR_READERS:
            (FOLDER / name).unlink(missing_ok=True)
    put_damaged_files()
    put_impossible_headers()
    put_pairs()
    put_foreign_formats()
    put_texts()
    rows = ROWS + [tuple(row) for row in old if row[1] not in OUR_READERS]
    TABLE.write_text("file\treader\tstatus\n" + "".join("\t".join(row) + "\n" for row in sorted(rows)))


main()
