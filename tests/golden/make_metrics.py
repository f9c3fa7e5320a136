#!/usr/bin/env python3
"""Writes metrics.txt: what the libraries say about small pairs of masks and about samples, for tests/pipeline.

    python3 tests/golden/make_metrics.py tests/golden/metrics.txt
    # made with NumPy 2.4.6, SciPy 1.17.1, medpy 0.5.2, monai 1.6.1 (torch 2.13.0), surface-distance 0.1

Lines of words; numbers have 17 digits.

    pair nx ny nz sx sy sz  cx cy cz wx wy wz r m  (the same eight for the prediction)
        voxel (i, j, k) is in a mask when wx (i - cx)^2 + wy (j - cy)^2 + wz (k - cz)^2 <= r; where m > 0, voxels with
        (7919 i + 104729 j + 31 i j + 17 j k + 1299 k) mod m = 0 change sides
    value CONVENTION METRIC NUMBER                    of the last pair; nsd0.. are at 0.5, 1, 2 and 3 mm
    areas sx sy sz NUMBER...                          256 surfel areas of surface-distance
    lengths sx sy NUMBER...                           16 contour lengths of surface-distance
    sample SEED NUMBER...                             what summary.h is given, a number per case; nan where it has none
    summary mean sd median q1 q3 min max low high     NumPy's values of it; low and high of 10000 resamples in NumPy
    paired N NUMBER... NUMBER...                      a, then b
    wilcoxon NUMBER                                   scipy.stats.wilcoxon(a, b).pvalue
"""
import os
import sys

import numpy as np
from scipy import stats

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_metrics_peers as peers  # noqa: E402

PAIRS = [  # dims, spacing, reference, prediction
    ((20, 18, 16), (1, 1, 1), (9, 8, 8, 1, 1, 1, 36, 0), (10, 9, 7, 1, 1, 1, 36, 0)),
    ((24, 20, 12), (0.7, 0.7, 2.5), (11, 9, 5, 1, 2, 4, 70, 0), (12, 9, 6, 1, 2, 3, 60, 0)),
    ((17, 19, 23), (0.9, 1.3, 0.6), (8, 9, 11, 2, 2, 1, 100, 11), (8, 9, 12, 2, 2, 1, 90, 13)),
    ((70, 9, 8), (1, 2, 3), (6, 4, 4, 1, 1, 1, 9, 0), (62, 4, 3, 1, 1, 1, 9, 0)),
    ((70, 9, 8), (0.5, 0.5, 5), (6, 4, 4, 1, 1, 1, 9, 0), (6, 4, 4, 1, 1, 1, 9, 61)),
    ((13, 11, 1), (1.5, 0.8, 4), (6, 5, 0, 1, 1, 1, 16, 0), (7, 5, 0, 1, 1, 1, 16, 0)),
    ((8, 8, 8), (1, 1, 1), (0, 0, 0, 1, 1, 1, 20, 0), (0, 0, 0, 1, 1, 1, 192, 0)),
    ((9, 9, 9), (2, 1, 3), (4, 4, 4, 1, 1, 1, 0, 0), (1, 7, 8, 1, 1, 1, 0, 0)),
    ((30, 31, 29), (0.8, 0.8, 0.8), (15, 15, 14, 1, 1, 1, 190, 0), (15, 15, 14, 1, 1, 1, 20, 0)),
]


def text(numbers):
    return " ".join(repr(float(n)) if not float(n).is_integer() else str(int(n)) for n in numbers)


def mask(dims, c0, c1, c2, w0, w1, w2, r, m):
    i, j, k = np.ogrid[:dims[0], :dims[1], :dims[2]]
    out = w0 * (i - c0) ** 2 + w1 * (j - c1) ** 2 + w2 * (k - c2) ** 2 <= r
    return out ^ ((7919 * i + 104729 * j + 31 * i * j + 17 * j * k + 1299 * k) % m == 0) if m else out


def write_pairs(out):
    measures = {c: getattr(peers, "load_" + c)() for c in peers.CONVENTIONS}
    for dims, steps, reference, prediction in PAIRS:
        spacing = tuple(float(s) for s in steps)
        out.write("pair %s  %s  %s  %s\n" % tuple(text(x) for x in (dims, spacing, reference, prediction)))
        r, p = mask(dims, *reference), mask(dims, *prediction)
        for convention, measure in measures.items():
            for metric, value in measure(r, p, spacing).items():
                out.write("value %s %s %.17g\n" % (convention, metric, value))


def write_areas(out):
    from surface_distance import lookup_tables
    for spacing in ((1, 1, 1), (0.7, 1.1, 2.5), (3, 2, 1)):
        areas = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
        out.write("areas %s  %s\n" % (text(spacing), " ".join("%.15g" % a for a in areas)))
    for spacing in ((1, 1), (2, 1), (0.7, 1.3)):
        lengths = lookup_tables.create_table_neighbour_code_to_contour_length(spacing)
        out.write("lengths %s  %s\n" % (text(spacing), " ".join("%.17g" % a for a in lengths)))


def philox(counter, key):
    """Philox 4x32-10 (Salmon et al. 2011) on arrays of counters [4][...]."""
    c, k0, k1 = [np.uint64(x) for x in counter], key[0], key[1]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        low = np.uint64(0xFFFFFFFF)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def bootstrap(values, seed, n_resamples=10000):
    n = len(values)
    block, resample = np.meshgrid(np.arange((n + 3) // 4), np.arange(n_resamples))
    counter = [block, resample, np.zeros_like(block), np.zeros_like(block)]
    draws = np.stack(philox(counter, (seed & 0xFFFFFFFF, seed >> 32)), -1).reshape(n_resamples, -1)[:, :n]
    means = np.nanmean(values[(draws * np.uint64(n) >> np.uint64(32)).astype(int)], 1)  # all NaN: no mean
    return np.nanpercentile(means, [2.5, 97.5])


def write_samples(out):
    rng = np.random.default_rng(20261)
    for n, seed, n_missing in ((2, 1, 0), (7, 1, 0), (7, 1, 3), (40, 2 ** 40 + 5, 0), (101, 9, 20)):
        values = np.round(rng.gamma(2, 3, n), 4)
        values[rng.permutation(n)[:n_missing]] = np.nan
        low, high = bootstrap(values, seed)
        q = np.nanpercentile(values, [50, 25, 75, 0, 100])
        out.write("sample %d %s\n" % (seed, text(values)))
        out.write("summary %s\n" % " ".join("%.17g" % x for x in (np.nanmean(values), np.nanstd(values, ddof=1), *q, low, high)))


def write_paired(out):
    rng = np.random.default_rng(20262)
    for n, digits in ((1, 3), (5, 3), (6, 0), (12, 0), (13, 1), (14, 0), (20, 6), (30, 1), (50, 8), (51, 8), (200, 2), (9, 0)):
        a = np.round(rng.normal(10, 2, n), digits)
        b = np.round(a + rng.normal(0.4, 1, n), digits)
        if np.all(a == b):
            b[0] += 1
        p = stats.wilcoxon(a, b).pvalue
        out.write("paired %d %s %s\nwilcoxon %.17g\n" % (n, text(a), text(b), p))


def main():
    with open(sys.argv[1], "w", encoding="ascii") as out:
        write_areas(out)
        write_pairs(out)
        write_samples(out)
        write_paired(out)


if __name__ == "__main__":
    main()
