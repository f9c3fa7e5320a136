#!/usr/bin/env python3
"""Writes the .slices and .npz files of tests/refuse/files that must be refused, each for one reason, and their rows of expected.tsv. Rows of
other readers are kept. Run in the repository's root: python3 tests/refuse/make_refuse_slices.py
Needs the zstd program. tests/fuzz/make_slices.py takes its builders from here."""
import pathlib
import struct
import subprocess
import zlib

from make_refuse_weights import pack

FOLDER = pathlib.Path("tests/refuse/files")
TABLE = pathlib.Path("tests/refuse/expected.tsv")
ROWS, COLS, SLICES, CLASSES = 3, 4, 2, 8


def frame(content, *options):
    """A zstd frame with checksum and content size."""
    return subprocess.run(["zstd", "-q", "-c", f"--stream-size={len(content)}", *options], input=content, stdout=subprocess.PIPE, check=True).stdout


def content(k, label=None, label_bytes=1, rows=ROWS, cols=COLS):
    """Slice k before compression: pixel p of the image is 16 k + p, its label p mod 9."""
    pixels = [struct.pack("<f", 16 * k + p) for p in range(rows * cols)]
    planes = b"".join(bytes(pixel[i] for pixel in pixels) for i in range(4))
    labels = [p % 9 if label is None else label for p in range(rows * cols)]
    return planes + b"".join(struct.pack("<B" if label_bytes == 1 else "<H", value) for value in labels)


def head(rows=ROWS, cols=COLS, slices=SLICES, classes=CLASSES, label_bytes=1, magic=b"SAMEDSL1", crc=None):
    fields = magic + struct.pack("<5I", rows, cols, slices, classes, label_bytes)
    return struct.pack("<II", 0x184D2A50, 32) + fields + struct.pack("<I", zlib.crc32(fields) if crc is None else crc)


def table(entries, n_frames=None, descriptor=0, magic=0x8F92EAB1, start=0x184D2A5E):
    body = b"".join(struct.pack("<II", *entry) for entry in entries)
    return struct.pack("<II", start, len(body) + 9) + body + struct.pack("<IBI", len(entries) if n_frames is None else n_frames, descriptor, magic)


def slices(frames=None, header=None, entries=None, size=5 * ROWS * COLS, **changes):
    frames = [frame(content(k)) for k in range(SLICES)] if frames is None else frames
    entries = [(40, 0)] + [(len(f), size) for f in frames] if entries is None else entries
    return (head() if header is None else header) + b"".join(frames) + table(entries, **changes)


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def npy(rows=3, cols=4, descr="<f4", order="False", values=None, version=1, shape=None):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape or f'({rows}, {cols})'}, }}"
    text += " " * (-(len(text) + 11) % 16) + "\n"
    prefix = b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text))
    return prefix + text.encode() + (struct.pack(f"<{rows * cols}f", *range(rows * cols)) if values is None else values)


def npz(image=None, label=None, **changes):
    image = npy() if image is None else image
    packed = [("image.npy".encode(), image, changes)] if changes else [(b"image.npy", image)]
    return pack(packed + [(b"label.npy", npy() if label is None else label)])


def deflated(data, body=None, size=None):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = compressor.compress(data) + compressor.flush() if body is None else body
    return pack([(b"image.npy", body, {"method": 8, "size": len(data) if size is None else size, "packed": len(body), "crc": zlib.crc32(data)}),
                 (b"label.npy", npy())])


GOOD = slices()
FRAMES = [frame(content(k)) for k in range(SLICES)]
FILES = {
    "empty.slices": (b"", "truncated"),
    "nothing_but_head.slices": (head(), "truncated"),
    "cut.slices": (GOOD[:-1], "truncated"),
    "cut_in_frame.slices": (GOOD[:60], "truncated"),
    "other_magic.slices": (slices(header=head(magic=b"SAMEDSL2")), "format"),
    "zstd_frame.slices": (FRAMES[0] + GOOD, "format"),
    "bad_head_crc.slices": (slices(header=head(crc=7)), "checksum"),
    "no_rows.slices": (slices(header=head(rows=0)), "range"),
    "too_many_columns.slices": (slices(header=head(cols=4097)), "range"),
    "rows_overflow.slices": (slices(header=head(rows=0xFFFFFFFF)), "range"),
    "no_slices.slices": (slices(header=head(slices=0)), "range"),
    "slices_bomb.slices": (slices(header=head(slices=1 << 20)), "truncated"),
    "one_slice_less.slices": (slices(header=head(slices=1)), "truncated"),
    "one_slice_more.slices": (slices(header=head(slices=3)), "truncated"),
    "no_classes.slices": (slices(header=head(classes=0)), "range"),
    "too_many_classes.slices": (slices(header=head(classes=65535)), "range"),
    "wide_labels.slices": (slices(header=head(label_bytes=2)), "format"),
    "frames_count.slices": (slices(n_frames=4), "format"),
    "descriptor.slices": (slices(descriptor=128), "format"),
    "footer_magic.slices": (slices(magic=1), "truncated"),
    "table_magic.slices": (slices(start=0x184D2A5D), "truncated"),
    "gap.slices": (slices(frames=[FRAMES[0], FRAMES[1] + b"\0"], entries=[(40, 0), (len(FRAMES[0]), 60), (len(FRAMES[1]), 60)]), "format"),
    "entry_beyond.slices": (slices(entries=[(40, 0), (len(FRAMES[0]), 60), (0xFFFFFFFF, 60)]), "format"),
    "entry_empty.slices": (slices(entries=[(40, 0), (len(FRAMES[0]) + len(FRAMES[1]), 60), (0, 60)]), "format"),
    "entry_content.slices": (slices(entries=[(40, 0), (len(FRAMES[0]), 60), (len(FRAMES[1]), 59)]), "format"),
    "first_entry.slices": (slices(entries=[(41, 0), (len(FRAMES[0]), 60), (len(FRAMES[1]), 60)]), "format"),
    "moved_border.slices": (slices(entries=[(40, 0), (len(FRAMES[0]) - 1, 60), (len(FRAMES[1]) + 1, 60)]), "format"),
    "no_frame.slices": (slices(frames=[FRAMES[0], b"\1" * 20]), "format"),
    "skippable_frame.slices": (slices(frames=[FRAMES[0], struct.pack("<II", 0x184D2A51, 8) + bytes(8)]), "format"),
    "short_content.slices": (slices(frames=[FRAMES[0], frame(content(1)[:-1])]), "format"),
    "long_content.slices": (slices(frames=[FRAMES[0], frame(content(1) + b"\0")]), "format"),
    "without_checksum.slices": (slices(frames=[FRAMES[0], frame(content(1), "--no-check")]), "format"),
    "two_frames.slices": (slices(frames=[FRAMES[0], frame(content(1)) + frame(b"")]), "format"),
    "bad_checksum.slices": (slices(frames=[FRAMES[0], flip(FRAMES[1], len(FRAMES[1]) - 1)]), "checksum"),
    "bad_content.slices": (slices(frames=[FRAMES[0], flip(FRAMES[1], 20)]), "checksum"),
    "label_above.slices": (slices(frames=[FRAMES[0], frame(content(1, label=9))]), "range"),
    "no_zip.npz": (npy(), "truncated"),
    "cut.npz": (npz()[:-30], "truncated"),
    "other_name.npz": (pack([(b"picture.npy", npy())]), "not_found"),
    "no_npy.npz": (npz(image=b"hello, this is text"), "format"),
    "version_9.npz": (npz(image=npy(version=9)), "format"),
    "objects.npz": (npz(image=npy(descr="|O")), "unsupported"),
    "big_endian.npz": (npz(image=npy(descr=">f4")), "unsupported"),
    "complex.npz": (npz(image=npy(descr="<c8")), "unsupported"),
    "no_order.npz": (npz(image=npy(order="Maybe")), "format"),
    "one_axis.npz": (npz(image=npy(shape="(12,)")), "unsupported"),
    "three_axes.npz": (npz(image=npy(shape="(3, 2, 2)")), "unsupported"),
    "empty_axis.npz": (npz(image=npy(shape="(0, 4)")), "unsupported"),
    "negative_axis.npz": (npz(image=npy(shape="(-3, 4)")), "unsupported"),
    "huge_axis.npz": (npz(image=npy(shape="(99999999999, 4)")), "unsupported"),
    "fewer_values.npz": (npz(image=npy(values=bytes(47))), "truncated"),
    "more_values.npz": (npz(image=npy(values=bytes(49))), "format"),
    "long_header.npz": (npz(image=b"\x93NUMPY\2\0" + struct.pack("<I", 0xFFFFFFF0) + bytes(40)), "format"),
    "bad_crc.npz": (npz(crc=5), "checksum"),
    "encrypted.npz": (npz(flags=1), "unsupported"),
    "bzip2.npz": (npz(method=12), "unsupported"),
    "deflate_bad_crc.npz": (deflated(npy()).replace(struct.pack("<I", zlib.crc32(npy())), b"abcd"), "checksum"),
    "deflate_damaged.npz": (deflated(npy(), body=b"\xff" * 80), "format"),
    "deflate_short.npz": (deflated(npy(), size=len(npy()) + 1), "format"),
    "deflate_long.npz": (deflated(npy(), size=len(npy()) - 1), "format"),
    "deflate_bomb.npz": (deflated(npy(), size=0x7FFFFFFF), "format"),
}


def main():
    kept = [line for line in TABLE.read_text().splitlines()[1:] if line.split("\t")[1] not in ("slices", "npz")]
    for path in [*FOLDER.glob("*.slices"), *FOLDER.glob("*.npz")]:
        path.unlink()
    for name, (data, status) in FILES.items():
        (FOLDER / name).write_bytes(data)
        kept.append(f"{name}\t{name.rpartition('.')[2]}\t{status}")
    TABLE.write_text("\n".join(["file\treader\tstatus", *sorted(kept)]) + "\n")


if __name__ == "__main__":
    main()
