#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/pth and tests/fuzz/corpus/safetensors: small valid files of every kind and a few broken ones. Run in the
repository's root: python3 tests/fuzz/make_weights.py"""
import pathlib
import struct
import sys

sys.path.insert(0, "tests/refuse")
import make_refuse_weights as w  # noqa: E402

CORPUS = pathlib.Path("tests/fuzz/corpus")


def put(folder, name, data):
    assert len(data) <= 2048, (name, len(data))
    (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    (CORPUS / folder / name).write_bytes(data)


def unchecked(pickle, values=w.VALUES):
    """Without the pickle's CRC, as torch.serialization.set_crc32_options(False) writes, so that mutations of it get through."""
    first, *others = w.entries(pickle, values)
    return w.pack([(*first, {"crc": 0})] + others)


def put_pth():
    wrapped = w.program(b"}(" + w.text("epoch") + b"K\x03" + w.text("lr") + b"G" + struct.pack(">d", .5) + w.text("steps") +
                        b"](K\x01M\x00\x02J\xff\xff\xff\xffe" + w.text("model") + b"}" + w.text("w") + w.tensor() + b"su")
    memo = w.program(b"}q\x00(" + w.text("w") + b"r\x01\x00\x00\x00" + w.tensor() + b"q\x02" + w.text("v") + b"h\x02u}" +
                     w.text("version") + b"K\x01sb")
    modern = b"\x80\x04\x95" + struct.pack("<Q", 100) + b"}\x94(\x8c\x01w\x94" + (
        b"\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93") + w.tensor()[len(w.REBUILD):] + b"u."
    typed = w.tensor(shape=(2, 2), stride=(1, 2), offset=1, stored=w.storage(numel=12, kind=b"HalfStorage"))
    parameter = w.PARAMETER + w.tensor(shape=(), stride=(), offset=5) + b"\x88" + w.ORDERED_DICT + b"\x87R"
    put("pth", "good", w.pth())
    put("pth", "zip64", w.pack(w.entries(), zip64={}))
    put("pth", "wrapped", unchecked(wrapped))
    put("pth", "memo", unchecked(memo))
    put("pth", "modern", unchecked(modern))
    put("pth", "half_view", unchecked(w.state(("w", typed))))
    put("pth", "parameter", unchecked(w.state(("w", parameter), ("v", w.tensor(shape=(0, 3))))))
    put("pth", "byte_order", w.pack(w.entries() + [(b"archive/byteorder", b"little")]))
    put("pth", "os_system", unchecked(w.program(w.get_global(b"os", b"system") + b")R")))
    put("pth", "overlap", w.pack(w.entries()[:1] + [(b"archive/data/0", w.VALUES, {"size": 30})] + w.entries()[2:]))


def put_safetensors():
    put("safetensors", "good", w.safetensors({"__metadata__": {"format": "pt"}, "w": w.described()}, w.VALUES[:8]))
    kinds = [("F64", 8), ("I64", 8), ("F32", 4), ("I32", 4), ("F16", 2), ("BF16", 2), ("U8", 1)]
    header, at = {}, 0
    for name, size in kinds:
        header[name] = w.described(name, (1, 2), (at, at + 2 * size))
        at += 2 * size
    header |= {"empty": w.described("F32", (0, 3), (0, 0)), "scalar": w.described("U8", (), (at, at + 1))}
    put("safetensors", "kinds", w.safetensors(header, bytes(range(at + 1))))
    put("safetensors", "gap", w.safetensors({"w": w.described(offsets=(4, 12))}, w.VALUES[:12]))
    put("safetensors", "name_not_utf8", w.safetensors(b'{"w\xf4":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', w.VALUES[:8]))
    put("safetensors", "no_tensors", w.safetensors({}))


put_pth()
put_safetensors()
