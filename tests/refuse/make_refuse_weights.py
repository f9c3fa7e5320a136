#!/usr/bin/env python3
"""Writes the weight files of tests/refuse/files that must be refused, each for one reason, and their rows of expected.tsv (file, reader,
status). Rows of other readers are kept. Run in the repository's root: python3 tests/refuse/make_refuse_weights.py
Needs nothing but Python. tests/fuzz/make_weights.py takes its builders from here."""
import gzip
import json
import pathlib
import struct
import zlib

FOLDER = pathlib.Path("tests/refuse/files")
TABLE = pathlib.Path("tests/refuse/expected.tsv")
READER = "tensors"
ROWS = []

# ---- zip: PKWARE APPNOTE.TXT 4.3.7, 4.3.12, 4.3.14 to 4.3.16 ----


def local_header(name, data, crc, method=0, flags=0, local_name=None):
    name = local_name or name
    return struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, flags, method, 0, 33, crc, len(data), len(data), len(name), 0) + name


def central_header(name, data, crc, offset, method=0, flags=0, size=None, packed=None, extra=b"", **_):
    size = len(data) if size is None else size
    return struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, flags, method, 0, 33, crc, size if packed is None else packed, size,
                       len(name), len(extra), 0, 0, 0, 0, offset) + name + extra


def end_record(count, n_bytes, offset, disk=0, comment=b""):
    return struct.pack("<IHHHHIIH", 0x06054B50, disk, disk, count, count, n_bytes, offset, len(comment)) + comment


def end64(count, n_bytes, offset, at=None, disk=0):
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, disk, disk, count, count, n_bytes, offset)
    return record + struct.pack("<IIQI", 0x07064B50, 0, offset + n_bytes if at is None else at, 1)


def pack(entries, end=end_record, zip64=None, **end_changes):
    """entries: (name, data) or (name, data, changes). Changes: method, flags, local_name, crc, offset, size, packed, extra."""
    body, directory = b"", b""
    for name, data, *changes in entries:
        changes = changes[0] if changes else {}
        crc = changes.pop("crc", zlib.crc32(data))
        offset = changes.pop("offset", len(body))
        local = {key: changes[key] for key in ("method", "flags", "local_name") if key in changes}
        body += local_header(name, data, crc, **local) + data
        directory += central_header(name, data, crc, offset, **changes)
    record = b"" if zip64 is None else end64(len(entries), len(directory), len(body), **zip64)
    if zip64 is not None:
        return body + directory + record + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    values = {"count": len(entries), "n_bytes": len(directory), "offset": len(body)} | end_changes
    return body + directory + end(**values)


# ---- pickle: Lib/pickletools.py of CPython ----


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(value)) + value


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def get_global(module, name):
    return b"c" + module + b"\n" + name + b"\n"


ORDERED_DICT = get_global(b"collections", b"OrderedDict") + b")R"
REBUILD = get_global(b"torch._utils", b"_rebuild_tensor_v2")
PARAMETER = get_global(b"torch._utils", b"_rebuild_parameter")


def storage(key="0", numel=6, kind=b"FloatStorage", tag="storage"):
    return b"(" + text(tag) + get_global(b"torch", kind) + text(key) + text("cpu") + number(numel) + b"tQ"


def tensor(offset=0, shape=(2, 3), stride=(3, 1), stored=None):
    return REBUILD + b"(" + (stored or storage()) + number(offset) + numbers(shape) + numbers(stride) + b"\x89" + ORDERED_DICT + b"tR"


def program(body):
    return b"\x80\x02" + body + b"."


def state(*members):
    return program(ORDERED_DICT + b"(" + b"".join(text(name) + value for name, value in members) + b"u")


VALUES = struct.pack("<6f", *range(6))


def entries(pickle=None, values=VALUES, root=b"archive"):
    return [(root + b"/data.pkl", state(("w", tensor())) if pickle is None else pickle), (root + b"/data/0", values),
            (root + b"/version", b"3\n")]


def pth(pickle=None, values=VALUES):
    return pack(entries(pickle, values))


def safetensors(header, values=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + values


def described(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


# ---- the files ----


def put(name, status, data):
    (FOLDER / name).write_bytes(data)
    ROWS.append((name, READER, status))


def put_executing_pickles():
    """What a pickle that does harm is made of."""
    call = get_global(b"os", b"system") + text("id") + b"\x85R"
    put("pickle_os_system.pth", "unsupported", pth(program(call)))
    put("pickle_os_system_beside.pth", "unsupported", pth(state(("w", tensor()), ("x", call))))
    put("pickle_stack_global.pth", "unsupported", pth(program(text("posix") + text("system") + b"\x93" + text("id") + b"\x85R")))
    put("pickle_eval.pth", "unsupported", pth(program(get_global(b"__builtin__", b"eval") + text("1") + b"\x85R")))
    put("pickle_numpy.pth", "unsupported", pth(program(get_global(b"numpy.core.multiarray", b"_reconstruct") + b")R")))
    put("pickle_global_with_zero.pth", "unsupported", pth(program(get_global(b"collections", b"OrderedDict\0x") + b")R")))
    put("pickle_module_class.pth", "unsupported", pth(program(get_global(b"torch.nn.modules.linear", b"Linear") + b")\x81")))
    put("pickle_inst.pth", "unsupported", pth(program(b"(ios\nsystem\n")))
    put("pickle_obj.pth", "unsupported", pth(program(b"(" + ORDERED_DICT + b"o")))
    put("pickle_newobj.pth", "unsupported", pth(program(ORDERED_DICT + b")\x81")))
    put("pickle_extension.pth", "unsupported", pth(program(b"\x82\x01")))
    put("pickle_string.pth", "unsupported", pth(program(b"S'x'\n")))
    put("pickle_text_persid.pth", "unsupported", pth(program(b"Pstorage\n")))
    put("pickle_buffer.pth", "unsupported", pth(program(b"\x97")))
    put("pickle_build_tensor.pth", "unsupported", pth(state(("w", tensor() + b"}b"))))
    put("pickle_ordered_dict_of_list.pth", "unsupported", 
        pth(program(get_global(b"collections", b"OrderedDict") + b"]\x85R(" + text("w") + tensor() + b"u")))
    put("pickle_calls_text.pth", "format", pth(program(text("os.system") + b")R")))


def put_broken_pickles():
    put("pickle_empty.pth", "truncated", pth(b""))
    put("pickle_no_stop.pth", "truncated", pth(state(("w", tensor()))[:-1]))
    put("pickle_text_too_long.pth", "truncated", pth(program(b"X" + struct.pack("<I", 2 ** 32 - 1) + b"x")))
    put("pickle_global_without_end.pth", "truncated", pth(b"\x80\x02ctorch\nFloatStorage"))
    put("pickle_underflow.pth", "format", pth(program(b"\x87")))
    put("pickle_pop_over_mark.pth", "format", pth(program(b"(Q")))
    put("pickle_no_mark.pth", "format", pth(program(b"}u")))
    put("pickle_key_without_value.pth", "format", pth(program(b"}(" + text("w") + b"u")))
    put("pickle_items_to_tuple.pth", "format", pth(program(b")(" + text("w") + tensor() + b"u")))
    put("pickle_empty_memo.pth", "format", pth(program(b"h\x07")))
    put("pickle_far_memo.pth", "unsupported", pth(program(b"}r" + struct.pack("<I", 2 ** 32 - 1))))
    put("pickle_long_integer.pth", "unsupported", pth(program(b"\x8a\x09" + bytes(9))))
    put("pickle_protocol_6.pth", "unsupported", pth(b"\x80\x06}."))
    put("pickle_left_over.pth", "format", pth(program(b"N" + state(("w", tensor()))[2:-1])))
    put("pickle_bytes_behind.pth", "format", pth(state(("w", tensor())) + b"N."))


def put_lying_tensors():
    put("tensor_offset_outside.pth", "range", pth(state(("w", tensor(offset=1)))))
    put("tensor_offset_negative.pth", "range", pth(state(("w", tensor(offset=-1)))))
    put("tensor_empty_outside.pth", "range", pth(state(("w", tensor(offset=7, shape=(0, 3))))))
    put("tensor_shape_outside.pth", "range", pth(state(("w", tensor(shape=(3, 3))))))
    put("tensor_shape_negative.pth", "range", pth(state(("w", tensor(shape=(-2, 3))))))
    put("tensor_shape_overflow.pth", "range", pth(state(("w", tensor(shape=(2 ** 62, 2 ** 62))))))
    put("tensor_shape_overflow_behind_zero.pth", "range", pth(state(("w", tensor(shape=(0, 2 ** 62, 2 ** 62), stride=(1, 1, 1))))))
    put("tensor_stride_outside.pth", "range", pth(state(("w", tensor(stride=(4, 1))))))
    put("tensor_stride_negative.pth", "range", pth(state(("w", tensor(offset=5, stride=(-3, -1))))))
    put("tensor_stride_overflow.pth", "range", pth(state(("w", tensor(stride=(2 ** 62, 2 ** 62))))))
    put("tensor_stride_missing.pth", "format", pth(state(("w", tensor(stride=(3,))))))
    put("tensor_repeats_storage.pth", "unsupported", pth(state(("w", tensor(shape=(2 ** 20, 2 ** 20), stride=(0, 0))))))
    put("tensor_nine_dims.pth", "unsupported", pth(state(("w", tensor(shape=(1,) * 9, stride=(1,) * 9)))))
    put("tensor_without_storage.pth", "format", pth(state(("w", tensor(stored=text("0"))))))
    put("tensor_without_arguments.pth", "format", pth(state(("w", REBUILD + b")R"))))
    put("tensor_name_is_number.pth", "unsupported", pth(program(b"}" + number(1) + tensor() + b"s")))
    put("tensor_name_with_escape.pth", "format", pth(state(("w\x1b[2J", tensor()))))
    put("tensor_name_not_utf8.pth", "format", pth(state((b"w\xf4", tensor()))))
    put("tensor_name_empty.pth", "format", pth(state(("", tensor()))))
    put("tensor_twice.pth", "format", pth(state(("w", tensor()), ("w", tensor()))))
    put("parameter_of_parameter.pth", "format",
        pth(state(("w", PARAMETER + PARAMETER + tensor() + b"\x88)\x87R" + b"\x88)\x87R"))))
    put("storage_is_shorter.pth", "range", pth(values=VALUES[:-4]))
    put("storage_is_longer.pth", "range", pth(values=VALUES + bytes(4)))
    put("storage_is_missing.pth", "not_found", pth(state(("w", tensor(stored=storage(key="1"))))))
    put("storage_leaves_folder.pth", "not_found", pth(state(("w", tensor(stored=storage(key="../data.pkl"))))))
    put("storage_negative.pth", "range", pth(state(("w", tensor(stored=storage(numel=-6))))))
    put("storage_overflow.pth", "range", pth(state(("w", tensor(stored=storage(numel=2 ** 62))))))
    put("storage_of_bool.pth", "unsupported", pth(state(("w", tensor(stored=storage(kind=b"BoolStorage"))))))
    put("storage_of_other_kind.pth", "format", pth(state(("w", tensor(stored=storage(tag="module"))))))
    put("no_tensors.pth", "unsupported", pth(state(("epoch", number(3)))))
    put("one_tensor.pth", "unsupported", pth(program(tensor())))
    put("list_of_tensors.pth", "unsupported", pth(program(b"]" + tensor() + b"a")))


def put_broken_zips():
    good = pth()
    put("zip_truncated.pth", "truncated", good[:-1])
    put("zip_half.pth", "truncated", good[:len(good) // 2])
    put("zip_bytes_behind.pth", "truncated", good + b"\n")
    put("zip_of_arrays.pth", "format", pack([(b"w.npy", VALUES)]))
    put("zip_empty_folder.pth", "format", pack([(b"archive/version", b"3\n")]))
    put("zip_torchscript.pth", "unsupported", pack(entries() + [(b"archive/constants.pkl", b"\x80\x02)."), (b"archive/code/x.py", b"")]))
    put("zip_big_endian.pth", "unsupported", pack(entries() + [(b"archive/byteorder", b"big")]))
    put("zip_compressed.pth", "unsupported", pack(entries()[:1] + [(b"archive/data/0", zlib.compress(VALUES)[2:-4], {"method": 8})]))
    put("zip_compressed_size.pth", "unsupported", pack(entries()[:1] + [(b"archive/data/0", VALUES, {"packed": 20})]))
    put("zip_encrypted.pth", "unsupported", pack(entries()[:1] + [(b"archive/data/0", VALUES, {"flags": 1})]))
    put("zip_bad_crc.pth", "checksum", pack([(b"archive/data.pkl", state(("w", tensor())), {"crc": 1})] + entries()[1:]))
    put("zip_entry_outside.pth", "range", pack(entries()[:2] + [(b"archive/version", b"3\n", {"size": 10 ** 6})]))
    put("zip_entry_in_directory.pth", "range", pack(entries()[:2] + [(b"archive/version", b"3\n", {"size": 30})]))
    put("zip_entry_overlaps.pth", "format", pack(entries()[:1] + [(b"archive/data/0", VALUES, {"size": 30})] + entries()[2:]))
    put("zip_entry_twice.pth", "format", pack(entries() + entries()[1:2]))
    put("zip_entry_shared.pth", "format", pack(entries() + [(b"archive/data/0", VALUES, {"offset": 0})]))
    put("zip_local_name.pth", "format", pack(entries()[:1] + [(b"archive/data/0", VALUES, {"local_name": b"archive/data/1"})]))
    put("zip_local_offset.pth", "format", pack(entries()[:1] + [(b"archive/data/0", VALUES, {"offset": 1})]))
    put("zip_local_far.pth", "format", pack(entries()[:1] + [(b"archive/data/0", VALUES, {"offset": 2 ** 31})]))
    put("zip_name_with_zero.pth", "format", pack(entries() + [(b"archive/\0", b"")]))
    put("zip_count_too_large.pth", "format", pack(entries(), count=60000))
    put("zip_count_too_small.pth", "format", pack(entries(), count=2))
    put("zip_count_off_by_one.pth", "format", pack(entries(), count=4))
    put("zip_directory_outside.pth", "format", pack(entries(), offset=2 ** 31))
    put("zip_directory_too_long.pth", "format", pack(entries(), n_bytes=2 ** 31))
    put("zip_split.pth", "unsupported", pack(entries(), disk=1))
    put("zip64_locator_outside.pth", "format", pack(entries(), zip64={"at": 2 ** 63}))
    put("zip64_locator_elsewhere.pth", "format", pack(entries(), zip64={"at": 0}))
    put("zip64_split.pth", "unsupported", pack(entries(), zip64={"disk": 1}))
    put("zip64_no_field.pth", "format", pack(entries()[:1] + [(b"archive/data/0", VALUES, {"size": 2 ** 32 - 1})]))
    put("zip64_short_field.pth", "format", pack(entries()[:1] + [
        (b"archive/data/0", VALUES, {"size": 2 ** 32 - 1, "extra": struct.pack("<HHI", 1, 4, 24)})]))
    put("zip64_huge_size.pth", "range", pack(entries()[:1] + [
        (b"archive/data/0", VALUES, {"size": 2 ** 32 - 1, "extra": struct.pack("<HHQQ", 1, 16, 2 ** 64 - 1, 2 ** 64 - 1)})]))


def put_foreign_weights():
    put("empty.pth", "truncated", b"")
    put("legacy.pth", "unsupported", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    put("bare_pickle.pth", "unsupported", b"\x80\x04}\x94.")
    put("lfs_pointer.pth", "unsupported", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 375042383\n")
    put("web_page.pth", "unsupported", b"<!DOCTYPE html><html></html>\n")
    put("gzip.pth", "unsupported", gzip.compress(pth(), 9, mtime=0))
    put("keras.h5.pth", "unsupported", b"\x89HDF\r\n\x1a\n" + bytes(8))
    put("llama.gguf.pth", "unsupported", b"GGUF" + bytes(20))
    put("text.pth", "format", b"these are no weights\n")


def put_safetensors():
    header = {"w": described()}
    put("st_header_beyond_file.safetensors", "truncated", safetensors(header, VALUES[:8], length=10 ** 6))
    put("st_header_huge.safetensors", "format", safetensors(header, VALUES[:8], length=2 ** 64 - 1))
    put("st_values_short.safetensors", "truncated", safetensors(header, VALUES[:7]))
    put("st_values_behind.safetensors", "format", safetensors(header, VALUES[:9]))
    put("st_gap.safetensors", "format", safetensors({"w": described(offsets=(4, 12))}, VALUES[:12]))
    put("st_overlap.safetensors", "format", safetensors({"v": described(), "w": described(offsets=(4, 12))}, VALUES[:12]))
    put("st_shared.safetensors", "format", safetensors({"v": described(), "w": described()}, VALUES[:8]))
    put("st_offsets_swapped.safetensors", "format", safetensors({"w": described(offsets=(8, 0))}, VALUES[:8]))
    put("st_offset_negative.safetensors", "format", safetensors({"w": described(offsets=(-8, 0))}, VALUES[:8]))
    put("st_offset_fraction.safetensors", "format", safetensors({"w": described(offsets=(0.5, 8.5))}, VALUES[:8]))
    put("st_shape_mismatch.safetensors", "mismatch", safetensors({"w": described(shape=(3,))}, VALUES[:8]))
    put("st_shape_overflow.safetensors", "range", safetensors({"w": described(shape=(2 ** 32, 2 ** 32, 2))}, VALUES[:8]))
    put("st_shape_nine_dims.safetensors", "unsupported", safetensors({"w": described(shape=(1,) * 8 + (2,))}, VALUES[:8]))
    put("st_float8.safetensors", "unsupported", safetensors({"w": described("F8_E5M2", (8,))}, VALUES[:8]))
    put("st_twice.safetensors", "format", safetensors(b'{"w":%s,"w":%s}' % ((json.dumps(described()).encode(),) * 2), VALUES[:8]))
    put("st_name_with_zero.safetensors", "format", safetensors({"w\0": described()}, VALUES[:8]))
    put("st_name_with_newline.safetensors", "format", safetensors({"w\n": described()}, VALUES[:8]))
    put("st_name_not_utf8.safetensors", "format", safetensors(b'{"w\xf4":%s}' % json.dumps(described()).encode(), VALUES[:8]))
    put("st_no_tensors.safetensors", "unsupported", safetensors({"__metadata__": {"a": "b"}}))
    put("st_no_shape.safetensors", "format", safetensors({"w": {"dtype": "F32", "data_offsets": [0, 8]}}, VALUES[:8]))
    put("st_not_json.safetensors", "format", safetensors(b"{w: 1}  "))
    put("st_zero_byte.safetensors", "format", safetensors(json.dumps(header).encode() + b"\0", VALUES[:8]))
    put("st_deep.safetensors", "format", safetensors(b'{"w":' + b"[" * 2000 + b"]" * 2000 + b"}"))


def main():
    FOLDER.mkdir(exist_ok=True)
    old = [line.split("\t") for line in TABLE.read_text().splitlines()[1:]] if TABLE.exists() else []
    for name, reader, _ in old:
        if reader == READER:
            (FOLDER / name).unlink(missing_ok=True)
    put_executing_pickles()
    put_broken_pickles()
    put_lying_tensors()
    put_broken_zips()
    put_foreign_weights()
    put_safetensors()
    rows = ROWS + [tuple(row) for row in old if row[1] != READER]
    TABLE.write_text("file\treader\tstatus\n" + "".join("\t".join(row) + "\n" for row in sorted(rows)))


if __name__ == "__main__":
    main()
