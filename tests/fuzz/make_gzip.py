#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/gzip: gzip members as RFC 1952 allows them, made by Python's zlib, zstd frames made by the zstd program, and
broken ones. Run in the repository's root: python3 tests/fuzz/make_gzip.py"""
import pathlib
import random
import struct
import subprocess
import zlib

FOLDER = pathlib.Path("tests/fuzz/corpus/gzip")
generator = random.Random(1)
TEXT = bytes(generator.choice(b"abcdefgh ") for _ in range(900))
NOISE = bytes(generator.randrange(256) for _ in range(300))


def deflate(data, level=6, strategy=zlib.Z_DEFAULT_STRATEGY):
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return compressor.compress(data) + compressor.flush()


def member(data, body=None, flags=0, fields=b"", crc=None, length=None):
    header = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\xff" + fields
    if flags & 2:  # header CRC: the low 16 bits of the CRC-32 of everything before
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    trailer = struct.pack("<II", zlib.crc32(data) if crc is None else crc, len(data) if length is None else length)
    return header + (deflate(data) if body is None else body) + trailer


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


ALL_FIELDS = struct.pack("<H", 5) + b"ab\1\0x" + b"name.nii\0" + b"a comment\0"
FILES = {
    "dynamic": member(TEXT),
    "fixed": member(TEXT[:200], deflate(TEXT[:200], strategy=zlib.Z_FIXED)),
    "stored": member(NOISE, deflate(NOISE, 0)),
    "empty": member(b""),
    "all_fields": member(TEXT, flags=31, fields=ALL_FIELDS),
    "name": member(TEXT, flags=8, fields=b"volume.nii\0"),
    "two_members": member(TEXT) + member(NOISE),
    "zero_padding": member(TEXT) + bytes(100),
    "padding_between": member(TEXT) + bytes(7) + member(TEXT),
    "runs": member(bytes(200000)),
    "bad_crc": member(TEXT, crc=1),
    "bad_length": member(TEXT, length=1),
    "bad_header_crc": member(TEXT, flags=31, fields=ALL_FIELDS).replace(b"a comment", b"b comment"),
    "garbage_behind": member(TEXT) + b"garbage",
    "half_member_behind": member(TEXT) + b"\x1f\x8b\x08",
    "no_method": b"\x1f\x8b\x07" + member(TEXT)[3:],
    "reserved_block": member(b"", b"\x07\x00"),
    "far_reference": member(b"", deflate(TEXT * 2)[200:]),
    "plain": TEXT,
}
ZSTD_FILES = {
    "frame.zst": (TEXT,),
    "no_checksum.zst": (TEXT, "--no-check"),
    "runs.zst": (bytes(500000),),
    "noise.zst": (NOISE, "-19"),
}

FOLDER.mkdir(parents=True, exist_ok=True)
for name, data in FILES.items():
    (FOLDER / (name if name == "plain" else name + ".gz")).write_bytes(data)
for name, arguments in ZSTD_FILES.items():
    (FOLDER / name).write_bytes(zstd(*arguments))
frames = zstd(TEXT)
(FOLDER / "two_frames.zst").write_bytes(frames + b"\x53\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc" + frames)
(FOLDER / "bad_checksum.zst").write_bytes(frames[:-1] + bytes([frames[-1] ^ 1]))
