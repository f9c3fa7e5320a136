"""A small study of label maps made by the tests of `samed evaluate`, and how they run it and read its tables."""
import csv
import gzip
import json
import os
import struct

import samed

DIMS, SPACING = (24, 20, 16), (1.5, 1.0, 2.5)
ORGANS = {"background": 0, "liver": 1, "left kidney": 2, "odd, \"name\" <b>": 700}
FILES = ["metrics.csv", "summary.csv", "summary.json", "report.html", "table.tex", "failed.tsv", "nnunet/summary.json"]


def write_labels(file, voxels, dims=DIMS, spacing=SPACING, origin=(0, 0, 0), code="<u2", datatype=512, slope=1.0):
    """A NIfTI-1 label map; voxels in the order of the file (i fastest)."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *dims, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, datatype, 8 * struct.calcsize(code[1].replace("u", "HB"[code[2] == "1"]).replace("f", "f")))
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, slope, 0)
    struct.pack_into("<2h", header, 252, 0, 1)
    for row in range(3):
        values = [0, 0, 0, origin[row]]
        values[row] = spacing[row]
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = b"n+1\0"
    os.makedirs(os.path.dirname(file), exist_ok=True)
    letter = {"<u2": "H", "<u1": "B", "<f4": "f"}[code]
    with gzip.open(file, "wb") as stream:
        stream.write(bytes(header) + struct.pack("<%d%s" % (len(voxels), letter), *voxels))


def box(low, high):
    """Indices of the voxels of a box, [low, high) along i, j, k."""
    return [(k * DIMS[1] + j) * DIMS[0] + i for k in range(low[2], high[2]) for j in range(low[1], high[1]) for i in range(low[0], high[0])]


def paint(*organs):
    voxels = [0] * (DIMS[0] * DIMS[1] * DIMS[2])
    for value, low, high in organs:
        for at in box(low, high):
            voxels[at] = value
    return voxels


def make_study(folder, n=7):
    """Cases a0... with boxes that differ a little; then one missed organ, one false positive, one both empty."""
    reference, prediction = os.path.join(folder, "ref"), os.path.join(folder, "pred")
    for i in range(n):
        liver, kidney, odd = (1, (2, 2, 2), (12, 12, 9)), (2, (14, 3, 4), (20, 9, 10)), (700, (3, 14, 10), (8, 18, 14))
        moved = [(1, (2 + i % 3, 2, 2), (12, 12 + i % 2, 9)), (2, (14, 3 + i % 2, 4), (20, 9, 10 + i % 4)), (700, (3, 14, 10), (8 + i % 5, 18, 14))]
        truth = [liver, kidney, odd]
        if i == 2:
            del moved[1]        # missed
        if i == 3:
            del truth[2]        # false positive
        if i == 4:
            del truth[2], moved[2]  # both empty
        write_labels(os.path.join(reference, f"a{i}.nii.gz"), paint(*truth))
        write_labels(os.path.join(prediction, f"a{i}_0000_dseg.nii.gz"), paint(*moved))
    with open(os.path.join(folder, "labels.json"), "w", encoding="utf-8") as stream:
        json.dump({"labels": ORGANS, "colors": {"liver": "#f58230"}}, stream)
    return reference, prediction, os.path.join(folder, "labels.json")


def evaluate(reference, prediction, labels, out, *options, ranks=0):
    return samed.run("evaluate", "-q", "-p", prediction, "-r", reference, "-o", out, "--labels", labels, *options, ranks=ranks)


def read_metrics(out):
    with open(os.path.join(out, "metrics.csv"), encoding="utf-8", newline="") as stream:
        return {(r["case"], r["organ"], r["metric"], r["convention"]): float(r["value"]) for r in csv.DictReader(stream)}


def read_summary(out, name="summary.csv"):
    with open(os.path.join(out, name), encoding="utf-8", newline="") as stream:
        return {(r["organ"], r["metric"], r["convention"]): r for r in csv.DictReader(stream)}
