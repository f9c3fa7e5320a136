#!/usr/bin/env python3
"""Metrics beside the libraries whose names their conventions carry: medpy, monai, surface-distance (PyPI), on pairs made here.

Usage: test_metrics_peers.py MEASURE_PAIRS [N_BLOBS [SEED]]

MEASURE_PAIRS is the built tests/golden/measure_pairs.c. Pairs are made here, and come from the real label maps of
SAMED_SHARED/data/metrics_reference_A.json where these and nibabel are there; overlap is compared too, and what a library does with an empty
mask: where it has no number (raises, NaN), ours is NaN. A library that is not installed is left out and named; without NumPy and SciPy, or
without any of the libraries, the test skips (77). Metrics Reloaded is not on PyPI as of 2026: its values are formed here with NumPy and
SciPy as spec/metrics.md section 1 gives them. Relative tolerances: 1e-6, for MONAI 1e-5, because it computes in float32.
"""
import importlib.metadata
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
try:
    import numpy as np
    from scipy import ndimage
except ImportError:
    print("skipped: NumPy and SciPy are not installed")
    sys.exit(77)

CONVENTIONS = ["medpy", "monai", "reloaded", "deepmind", "samed"]
TOLERANCES = [0.5, 1.0, 2.0, 3.0]
OVERLAP = ["dsc", "jaccard", "precision", "recall"]
TOLERANCE = {"medpy": 1e-6, "monai": 1e-5, "reloaded": 1e-6, "deepmind": 1e-6, "samed": 1e-6}


def load_medpy():
    from medpy.metric import binary

    def measure(reference, prediction, spacing):
        # assd pools both lists from MedPy 0.5.2 on; up to 0.5.1 it was the mean of both asd, which is masd here.
        means = (binary.asd(prediction, reference, spacing) + binary.asd(reference, prediction, spacing)) / 2
        out = {"hd": binary.hd(prediction, reference, spacing), "hd95": binary.hd95(prediction, reference, spacing), "masd": means}
        version = tuple(int(n) for n in importlib.metadata.version("medpy").split(".")[:3])
        out["assd" if version >= (0, 5, 2) else "masd"] = binary.assd(prediction, reference, spacing)
        return {**out, "dsc": binary.dc(prediction, reference), "jaccard": binary.jc(prediction, reference),
                "precision": binary.precision(prediction, reference), "recall": binary.recall(prediction, reference)}

    return measure


def load_samed():
    from medpy.metric import binary

    return lambda reference, prediction, spacing: {"hd95": binary.hd95(prediction, reference)}


def load_monai():
    import torch
    from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance, compute_surface_dice

    def measure(reference, prediction, spacing):
        p, r = (torch.from_numpy(m.astype(np.uint8))[None, None] for m in (prediction, reference))
        out = {"hd": compute_hausdorff_distance(p, r, True, spacing=list(spacing)).item(),
               "hd95": compute_hausdorff_distance(p, r, True, percentile=95, spacing=list(spacing)).item(),
               "assd": compute_average_surface_distance(p, r, True, symmetric=True, spacing=list(spacing)).item(),
               "dsc": compute_dice(p, r, ignore_empty=False).item()}
        for t, limit in enumerate(TOLERANCES):
            out["nsd%d" % t] = compute_surface_dice(p, r, [limit], True, spacing=list(spacing)).item()
        return out

    return measure


def load_deepmind():
    for name, value in (("Inf", np.inf), ("NaN", np.nan)):  # surface-distance 0.1 uses names that NumPy 2 and SciPy have dropped
        if not hasattr(np, name):
            setattr(np, name, value)
    for name in ("filters", "morphology"):
        if not hasattr(ndimage, name):
            setattr(ndimage, name, ndimage)
    import surface_distance

    def measure(reference, prediction, spacing):
        d = surface_distance.compute_surface_distances(reference, prediction, spacing)
        there, back = surface_distance.compute_average_surface_distance(d)
        areas = d["surfel_areas_gt"].sum(), d["surfel_areas_pred"].sum()
        out = {"hd": surface_distance.compute_robust_hausdorff(d, 100), "hd95": surface_distance.compute_robust_hausdorff(d, 95),
               "masd": (there + back) / 2, "assd": (there * areas[0] + back * areas[1]) / (areas[0] + areas[1]),
               "dsc": surface_distance.compute_dice_coefficient(reference, prediction)}
        for t, limit in enumerate(TOLERANCES):
            out["nsd%d" % t] = surface_distance.compute_surface_dice_at_tolerance(d, limit)
        return out

    return measure


def load_reloaded():
    def measure(reference, prediction, spacing):
        borders = [m & ~ndimage.binary_erosion(m) for m in (reference, prediction)]
        maps = [ndimage.distance_transform_edt(~b, sampling=spacing) for b in borders]
        a, b = maps[1][borders[0]], maps[0][borders[1]]
        both = np.concatenate([a, b])
        out = {"hd": both.max(), "hd95": max(np.percentile(a, 95), np.percentile(b, 95)), "assd": both.mean(),
               "masd": (a.mean() + b.mean()) / 2}
        out.update(("nsd%d" % t, (both <= limit).mean()) for t, limit in enumerate(TOLERANCES))
        return out

    return measure


def blob(rng, dims, level):
    noise = ndimage.gaussian_filter(rng.standard_normal(dims), [min(2.0, n / 3) for n in dims], mode="nearest")
    return noise > np.quantile(noise, level)


def odd_pairs():
    """Masks at which implementations stumble."""
    one = np.zeros((9, 8, 7), bool)
    one[4, 4, 3] = True
    other = np.zeros_like(one)
    other[0, 0, 6] = True
    full = np.ones_like(one)
    flat = np.zeros((12, 10, 1), bool)
    flat[2:7, 3:9] = True
    grown = ndimage.binary_dilation(flat)
    face = np.zeros((20, 6, 5), bool)
    face[:9] = True
    rod = np.zeros((150, 5, 5), bool)
    rod[3:7, 2, 2] = True
    far = np.zeros_like(rod)
    far[140:, 1:4, 1:4] = True
    yield from ((one, one), (one, other), (one, full), (full, full), (full, other), (flat, grown), (flat[:, ::-1], flat))
    yield from ((face, np.roll(face, 1, 0)), (rod, far), (rod, rod | far), (flat.transpose(2, 0, 1), grown.transpose(2, 0, 1)))
    yield np.ones((1, 1, 1), bool), np.ones((1, 1, 1), bool)
    yield np.ones((64, 1, 1), bool), np.arange(64)[:, None, None] % 9 == 4
    yield np.ones((65, 3, 2), bool), np.zeros((65, 3, 2), bool)
    yield np.zeros((65, 3, 2), bool), np.zeros((65, 3, 2), bool)


def make_pairs(n_blobs, seed):
    rng = np.random.default_rng(seed)
    for reference, prediction in odd_pairs():
        for spacing in ((1.0, 1.0, 1.0), (0.7, 0.9, 2.5)):
            yield reference, prediction, spacing
    for n in range(n_blobs):
        dims = rng.integers(1, 40, 3) + (n % 5 == 0) * np.array([60, 0, 0])
        reference = blob(rng, dims, rng.uniform(0.3, 0.97))
        style = n // 4 % 4
        if style == 0:
            prediction = np.roll(reference, rng.integers(-3, 4, 3), (0, 1, 2))
        elif style == 1:
            prediction = ndimage.binary_erosion(reference) if rng.random() < 0.5 else ndimage.binary_dilation(reference)
        elif style == 2:
            prediction = blob(rng, dims, rng.uniform(0.3, 0.97))
        else:
            prediction = reference ^ (rng.random(dims) < 0.02)
        # 0.1: rounding decides whether a distance is within a tolerance
        spacing = ((1.0, 1.0, 1.0), (0.5, 0.5, 3.0), (0.1, 0.2, 0.3), rng.uniform(0.3, 4, 3))[n % 4]
        spacing = tuple(float(s) for s in spacing)
        yield reference, prediction, spacing
        if n % 3 == 0:  # one slice of it as a 2-D image
            k = dims[2] // 2
            yield reference[:, :, k], prediction[:, :, k], spacing[:2]


def crop(reference, prediction):
    """Both masks in the box of their voxels and one more around it; where they touch the volume's edge the box ends there too: the edge is surface."""
    where = np.nonzero(reference | prediction)
    box = tuple(slice(max(w.min() - 1, 0), w.max() + 2) for w in where)
    return reference[box], prediction[box]


MOST_VOXELS = 300000  # of a cropped pair: what is left is done in a minute


def real_pairs():
    folder = os.path.join(os.environ.get("SAMED_SHARED", ""), "data")
    try:
        import nibabel
        with open(os.path.join(folder, "metrics_reference_A.json"), encoding="utf-8") as stream:
            entries = [entry for entry in json.load(stream).values() if isinstance(entry, dict)]
    except (ImportError, FileNotFoundError) as problem:
        print("left out: real pairs (%s)" % problem)
        return
    for entry in entries:
        maps = [np.asarray(nibabel.load(os.path.join(folder, entry[side])).dataobj) for side in ("ref", "seg")]
        for label in entry["per_label"]:
            reference, prediction = (m == int(label) for m in maps)
            if not reference.any() or not prediction.any():
                continue
            reference, prediction = crop(reference, prediction)
            if reference.size <= MOST_VOXELS:
                yield reference, prediction, tuple(entry["spacing"])


def pack_pair(reference, prediction, spacing):
    if reference.ndim == 2:  # a planar map; its third spacing must not matter
        reference, prediction, spacing, is_planar = reference[:, :, None], prediction[:, :, None], (*spacing, 0.37), 1
    else:
        is_planar = 0
    head = struct.pack("<5i", *reference.shape, is_planar, len(TOLERANCES)) + struct.pack("<4d", *spacing, 95.0)
    head += struct.pack("<%dd" % len(TOLERANCES), *TOLERANCES)
    return head + b"".join(m.astype(np.uint8).tobytes(order="F") for m in (reference, prediction))


def measure_ours(program, pairs):
    result = subprocess.run([program], input=b"".join(pack_pair(*p) for p in pairs), capture_output=True, check=True)
    names = ["hd", "hd95", "assd", "masd"] + ["nsd%d" % t for t in range(len(TOLERANCES))]
    for line in result.stdout.decode().splitlines():
        numbers = [float(word) for word in line.split()]
        counts, overlap, numbers = numbers[:3], dict(zip(OVERLAP, numbers[3:7])), numbers[7:]
        yield counts, {c: {**dict(zip(names, numbers[n * len(names):])), **overlap} for n, c in enumerate(CONVENTIONS)}


def compare(label, convention, expected, found, worst):
    """Number of values that differ; both must be finite."""
    n_bad = 0
    for name, value in expected.items():
        error = abs(found[name] - value) / max(abs(value), 1e-3)
        worst[convention] = max(worst[convention], error if error == error else np.inf)
        if not error <= TOLERANCE[convention]:
            print("%s %s %s: %.9g, the library says %.9g" % (label, convention, name, found[name], value))
            n_bad += 1
    return n_bad


def library_rules():
    """{(convention, metric, state): what the library itself gives for empty masks}; NaN where it raises."""
    empty, one = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    one[2, 2, 2] = True
    out = {}

    def put(convention, metric, state, measure):
        try:
            out[convention, metric, state] = float(measure())
        except RuntimeError:
            out[convention, metric, state] = np.nan

    def put_medpy(state, r, p):
        from medpy.metric import binary
        for metric, name in zip(("dsc", "jaccard", "precision", "recall", "hd", "hd95", "assd"), ("dc", "jc", "precision", "recall", "hd", "hd95", "assd")):
            put("medpy", metric, state, lambda: getattr(binary, name)(p, r))

    def put_monai(state, r, p):
        import torch
        from monai import metrics as m
        p, r = (torch.from_numpy(x.astype(np.uint8))[None, None] for x in (p, r))
        for metric, measure in (("dsc", lambda: m.compute_dice(p, r)), ("jaccard", lambda: m.compute_iou(p, r)),
                                ("hd", lambda: m.compute_hausdorff_distance(p, r, True)),
                                ("hd95", lambda: m.compute_hausdorff_distance(p, r, True, percentile=95)),
                                ("assd", lambda: m.compute_average_surface_distance(p, r, True, symmetric=True)),
                                ("nsd_1mm", lambda: m.compute_surface_dice(p, r, [1.0], True))):
            put("monai", metric, state, measure)

    def put_deepmind(state, r, p):
        import surface_distance as s
        d = s.compute_surface_distances(r, p, (1, 1, 1))
        for metric, measure in (("dsc", lambda: s.compute_dice_coefficient(r, p)), ("hd", lambda: s.compute_robust_hausdorff(d, 100)),
                                ("hd95", lambda: s.compute_robust_hausdorff(d, 95)), ("masd", lambda: np.mean(s.compute_average_surface_distance(d))),
                                ("nsd_1mm", lambda: s.compute_surface_dice_at_tolerance(d, 1))):
            put("deepmind", metric, state, measure)

    for state, r, p in (("both_empty", empty, empty), ("missed", one, empty), ("false_positive", empty, one)):
        for library in (put_medpy, put_monai, put_deepmind):
            try:
                library(state, r, p)
            except ImportError:
                pass
    return out


def compare_rules():
    """--empty library beside the libraries; returns how many rules differ, and how many there are."""
    import nibabel
    # MedPy's rules for 0 / 0 wait for ZeroDivisionError, which Python's integers raise; those that newer NumPy counts with give NaN
    count = np.count_nonzero
    np.count_nonzero = lambda *a, **k: int(count(*a, **k))
    expected = library_rules()
    np.count_nonzero = count
    with tempfile.TemporaryDirectory() as folder:
        file, out = os.path.join(folder, "a.nii.gz"), os.path.join(folder, "out")
        nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)).to_filename(file)
        subprocess.run([os.environ["SAMED_PROGRAM"], "evaluate", "-q", "-p", file, "-r", file, "-o", out, "--convention", "all", "--empty", "library"],
                       check=True)
        with open(os.path.join(out, "summary.json"), encoding="utf-8") as stream:
            rules = {(rule["convention"], rule["metric"], state): rule[state] for rule in json.load(stream)["empty_rules"]
                     for state in ("both_empty", "missed", "false_positive")}
    n_bad = 0
    for key, value in expected.items():
        words = "left out" if np.isnan(value) else "infinite" if np.isinf(value) else "%g" % value
        if rules[key] != words:
            print("--empty library, %s %s %s: %s, the library gives %s" % (*key, rules[key], words))
            n_bad += 1
    return n_bad, len(expected)


def main():
    program, n_blobs, seed = sys.argv[1], int((sys.argv[2:3] or [60])[0]), int((sys.argv[3:4] or [1])[0])
    peers = {}
    for convention in CONVENTIONS:
        try:
            peers[convention] = globals()["load_" + convention]()
        except ImportError as problem:
            print("left out: %s (%s)" % (convention, problem))
    if set(peers) <= {"reloaded"}:
        print("skipped: none of medpy, monai, surface-distance is installed")
        return 77
    pairs, n_bad, n_values = list(make_pairs(n_blobs, seed)), 0, 0
    n_made = len(pairs)
    pairs += real_pairs()
    worst = dict.fromkeys(peers, 0.0)
    ours = list(measure_ours(program, pairs))
    assert len(ours) == len(pairs)
    for n, ((reference, prediction, spacing), (counts, found)) in enumerate(zip(pairs, ours)):
        label = "pair %d %s spacing %s" % (n, reference.shape, spacing)
        if counts != [reference.sum(), prediction.sum(), (reference & prediction).sum()]:
            print(label, "counts", counts)
            n_bad += 1
        for convention, measure in peers.items():
            if not reference.any() or not prediction.any():
                n_bad += not all(np.isnan(v) for name, v in found[convention].items() if name not in OVERLAP)
                continue
            expected = measure(reference, prediction, spacing)
            n_values += len(expected)
            n_bad += compare(label, convention, expected, found[convention], worst)
    if "SAMED_PROGRAM" in os.environ and importlib.util.find_spec("nibabel"):
        n_wrong, n_rules = compare_rules()
        n_bad += n_wrong
        print("%d rules for empty masks, %d differ" % (n_rules, n_wrong))
    print("%d pairs made, %d real ones, %d values against %s, %d differ; largest relative differences %s" % (
        n_made, len(pairs) - n_made, n_values, ", ".join(peers), n_bad, ", ".join("%s %.1e" % item for item in worst.items())))
    return 1 if n_bad else 0


if __name__ == "__main__":
    sys.exit(main())
