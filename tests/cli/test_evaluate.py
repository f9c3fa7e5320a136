"""`samed evaluate`: the same bytes on any number of ranks, numbers against NumPy and SciPy, failures that stop nothing."""
import csv
import gzip
import json
import math
import os
import re
import shutil
import struct
import unittest

import samed

try:
    import numpy
except ImportError:
    numpy = None
try:
    import scipy.ndimage
    import scipy.stats
except ImportError:
    scipy = None

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


class Ranks(unittest.TestCase):
    def test_same_bytes_on_any_number_of_ranks(self):
        reference, prediction, labels = make_study(samed.path("ranks"))
        os.remove(os.path.join(prediction, "a6_0000_dseg.nii.gz"))
        found = []
        for ranks in (0, 1, 2, 3, 4):
            out = samed.path("ranks.out")
            samed.check(evaluate(reference, prediction, labels, out, "--convention", "all", "--voxels", "--nnunet", "--latex", ranks=ranks), 3)
            found.append({name: samed.digest(os.path.join(out, name)) for name in FILES})
            self.assertEqual(samed.leftovers(out), [])
        for other in found[1:]:
            self.assertEqual(other, found[0])

    def test_fewer_cases_than_ranks(self):
        reference, prediction, labels = make_study(samed.path("few"), 1)
        found = []
        for ranks in (1, 3):
            out = samed.path(f"few.out{ranks}")
            samed.check(evaluate(reference, prediction, labels, out, ranks=ranks))
            found.append(len(read_metrics(out)))
            self.assertEqual(samed.digest(os.path.join(out, "metrics.csv")), samed.digest(os.path.join(samed.path("few.out1"), "metrics.csv")))
        self.assertEqual(found[0], found[1])


class Numbers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.study = make_study(samed.path("numbers"))
        cls.out = samed.path("numbers.out")
        samed.check(evaluate(*cls.study, cls.out, "--convention", "all", "--nnunet"))
        cls.metrics = read_metrics(cls.out)

    def masks(self, case, value):
        arrays = []
        for file in (os.path.join(self.study[0], case + ".nii.gz"), os.path.join(self.study[1], case + "_0000_dseg.nii.gz")):
            with gzip.open(file) as stream:
                voxels = numpy.frombuffer(stream.read()[352:], "<u2")
            arrays.append(voxels.reshape(DIMS[::-1]) == value)
        return arrays

    @unittest.skipUnless(numpy and scipy, "NumPy and SciPy are not installed")
    def test_against_numpy_and_scipy(self):
        checked = 0
        for case in [f"a{i}" for i in range(7)]:
            for organ, value in ORGANS.items():
                reference, prediction = self.masks(case, value)
                if value == 0 or not reference.any() or not prediction.any():
                    continue
                both = (reference & prediction).sum()
                self.assertAlmostEqual(self.metrics[case, organ, "dsc", "medpy"], 2 * both / (reference.sum() + prediction.sum()), places=12)
                self.assertAlmostEqual(self.metrics[case, organ, "jaccard", "medpy"], both / (reference | prediction).sum(), places=12)
                self.assertAlmostEqual(self.metrics[case, organ, "volume_reference_ml", "none"], reference.sum() * 3.75 / 1000, places=12)
                surfaces = [m & ~scipy.ndimage.binary_erosion(m) for m in (reference, prediction)]
                for spacing, suffix, names in ((SPACING[::-1], "", ("medpy", "reloaded")), ((1, 1, 1), "_voxels", ("samed",))):
                    a = scipy.ndimage.distance_transform_edt(~surfaces[1], spacing)[surfaces[0]]
                    b = scipy.ndimage.distance_transform_edt(~surfaces[0], spacing)[surfaces[1]]
                    pooled = numpy.percentile(numpy.concatenate([a, b]), 95)
                    directed = max(numpy.percentile(a, 95), numpy.percentile(b, 95))
                    for name in names:
                        expected = directed if name == "reloaded" else pooled
                        # 1e-6 relative, the agreement with the libraries that is promised
                        self.assertAlmostEqual(self.metrics[case, organ, "hd95" + suffix, name], expected, delta=1e-6 * expected + 1e-9)
                        checked += 1
                    if not suffix:
                        self.assertAlmostEqual(self.metrics[case, organ, "hd", "medpy"], max(a.max(), b.max()), places=9)
                        pooled = numpy.concatenate([a, b]).mean()  # MedPy 0.5.2; the mean of means up to 0.5.1
                        self.assertAlmostEqual(self.metrics[case, organ, "assd", "medpy"], pooled, places=6)
                        self.assertAlmostEqual(self.metrics[case, organ, "assd_0.5.1", "medpy"], (a.mean() + b.mean()) / 2, places=6)
        self.assertGreater(checked, 40)

    def test_rules_for_empty_masks(self):
        odd = 'odd, "name" <b>'
        expected = {("a2", "left kidney"): (0, math.nan, 0, 0), ("a3", odd): (0, math.nan, 1, 0), ("a4", odd): (1, 0, 0, 0)}
        for (case, organ), (dsc, hd95, samed_dsc, samed_hd95) in expected.items():
            self.assertEqual(self.metrics[case, organ, "dsc", "reloaded"], dsc)
            self.assertEqual(str(self.metrics[case, organ, "hd95", "reloaded"]), str(float(hd95)))
            self.assertEqual(self.metrics[case, organ, "dsc", "samed"], samed_dsc)
            self.assertEqual(self.metrics[case, organ, "hd95_voxels", "samed"], samed_hd95)

    def test_rules_can_be_changed(self):
        out = samed.path("rules.out")
        samed.check(evaluate(*self.study, out, "--empty", "worst,dsc:both=nan,reloaded/hd95:missed=7"))
        metrics = read_metrics(out)
        diagonal = math.sqrt(sum((d * s) ** 2 for d, s in zip(DIMS, SPACING)))
        self.assertEqual(metrics["a2", "left kidney", "hd95", "reloaded"], 7)
        self.assertAlmostEqual(metrics["a2", "left kidney", "assd", "reloaded"], diagonal, places=9)
        self.assertTrue(math.isnan(metrics["a4", 'odd, "name" <b>', "dsc", "reloaded"]))
        self.assertEqual(samed.run("evaluate", "-p", "x", "-r", "y", "-o", out, "--empty", "hd95:lost=1").returncode, 2)

    def test_counts_and_three_means(self):
        row = read_summary(self.out)["left kidney", "hd95", "reloaded"]
        self.assertEqual((row["n"], row["n_both_empty"], row["n_missed"], row["n_false_positive"], row["n_failed"]), ("6", "0", "1", "0", "0"))
        values = [self.metrics[f"a{i}", "left kidney", "hd95", "reloaded"] for i in range(7) if i != 2]
        diagonal = math.sqrt(sum((d * s) ** 2 for d, s in zip(DIMS, SPACING)))
        self.assertAlmostEqual(float(row["mean"]), sum(values) / 6, places=9)
        self.assertAlmostEqual(float(row["mean_both_present"]), sum(values) / 6, places=9)
        self.assertAlmostEqual(float(row["mean_missed_worst"]), (sum(values) + diagonal) / 7, places=9)
        self.assertLessEqual(float(row["ci95_low"]), float(row["mean"]))
        self.assertGreaterEqual(float(row["ci95_high"]), float(row["mean"]))

    def test_both_empty_raises_no_mean_unseen(self):
        odd = 'odd, "name" <b>'
        row = read_summary(self.out)[odd, "dsc", "reloaded"]
        values = [self.metrics[f"a{i}", odd, "dsc", "reloaded"] for i in range(7) if i != 4]
        self.assertAlmostEqual(float(row["mean"]), (sum(values) + 1) / 7, places=12)
        self.assertAlmostEqual(float(row["mean_not_both_empty"]), sum(values) / 6, places=12)
        self.assertEqual((row["n"], row["n_measured"], row["n_left_out"]), ("7", "7", "0"))
        row = read_summary(self.out)["all organs", "hd95", "reloaded"]
        self.assertEqual((row["n"], row["n_measured"], row["n_left_out"], row["n_both_empty"]), ("19", "21", "2", "1"))
        self.assertEqual((row["unit"], row["n_cases"]), ("case-organ pairs", "7"))
        for (organ, _, convention), row in read_summary(self.out).items():  # one unit in a row: what is measured is in the mean or left out
            self.assertEqual(int(row["n"]) + int(row["n_left_out"]), int(row["n_measured"]), (organ, convention))

    def test_page_and_tables_count_alike(self):
        summary = read_summary(self.out)
        with open(os.path.join(self.out, "report.html"), encoding="utf-8") as stream:
            page = stream.read()
        section = re.search(r'<section data-convention="medpy">.*?</section>', page, re.S).group(0)
        titles = re.findall(r"<th scope=\"col\">(.*?)</th>", section.split("</thead>")[0])
        rows = [r for r in re.findall(r"<tr.*?</tr>", section.split("</thead>")[1].split("</tbody>")[0], re.S)]
        self.assertEqual((titles[0], len(rows)), ("measured", 4))
        for organ, html in zip([*list(ORGANS)[1:], "all organs"], rows):
            cells = re.findall(r"<td.*?</td>", html, re.S)
            for title, metric in (("DSC", "dsc"), ("HD95 (mm)", "hd95")):
                row = summary[organ, metric, "medpy"]
                cell = cells[titles.index(title)]
                self.assertRegex(cell, f'title="n {row["n"]}[ ,]')
                self.assertEqual(f"({row['n']})</span>" in cell, row["n"] != row["n_measured"])
                digits = 3 if metric == "dsc" else 2  # one number in a cell, its SD or interval below
                shown = ["%.*f" % (digits, float(row[k])) for k in ("mean", "sd", "ci95_low", "ci95_high")]
                left_out = f" ({row['n']})" if row["n"] != row["n_measured"] else ""
                self.assertEqual(re.sub("<.*?>", "", cell), "%s%s± %s%s–%s" % (shown[0], left_out, *shown[1:]))
                self.assertIn(f">{row['n_measured']}<", cells[0])
        others = re.search(r'<table class="dense others">.*?</table>', section, re.S).group(0)
        groups = {re.search(r'</span>(.*?)</th>', g).group(1) if "swatch" in g else "all organs":
                  [re.sub("<.*?>", "", w) for w in re.findall(r'<td class="text">.*?</td>', g)] for g in others.split('<tr class="first">')[1:]}
        wrong = ["all, by the rules", "found in both", "missed, false pos. at worst"]
        self.assertEqual(groups, {"left kidney": wrong, "odd, &quot;name&quot; &lt;b&gt;": wrong[:1] + ["all but both empty"] + wrong[1:],
                                  "all organs": wrong[:1] + ["all but both empty"] + wrong[1:]})
        self.assertIn('>%.2f</td>' % float(summary["left kidney", "hd95", "medpy"]["mean_missed_worst"]), others)
        all_organs = summary["all organs", "hd95", "medpy"]
        tile = re.search(r"<dt>Mean HD95.*?</div>", page, re.S).group(0)
        self.assertIn("leaves out 2 of 21 organs", tile)
        self.assertIn("with 1 missed, 1 false positive at worst: %.2f" % float(all_organs["mean_missed_worst"]), tile)
        self.assertIn("without 1 both empty: %.2f" % float(all_organs["mean_not_both_empty"]), tile)

    def test_all_organs_is_the_mean_over_each_case(self):
        row = read_summary(self.out)["all organs", "dsc", "reloaded"]
        organs = [name for name, value in ORGANS.items() if value]
        means = [sum(self.metrics[f"a{i}", organ, "dsc", "reloaded"] for organ in organs) / 3 for i in range(7)]
        self.assertAlmostEqual(float(row["mean"]), sum(means) / 7, places=12)

    def test_few_cases_are_told(self):
        for n, is_few in ((7, True), (8, False)):
            reference, prediction, labels = make_study(samed.path(f"fewer{n}"), n)
            out = samed.path("fewer.out")
            process = samed.check(samed.run("evaluate", "-p", prediction, "-r", reference, "-o", out, "--labels", labels))
            self.assertEqual(f"only {n} cases measured" in process.stderr, is_few)
            with open(os.path.join(out, "report.html"), encoding="utf-8") as stream:
                page = stream.read()
            self.assertEqual("Too few cases for statistics" in page, is_few)
            self.assertIn("(few cases), median", page)  # of eight cases seven have the left kidney's HD95
            self.assertEqual("few cases" in re.search(r"<dt>Mean DSC.*?</dd>", page, re.S).group(0), is_few)
            self.assertEqual(samed.read_json(out, "summary.json")["bootstrap_resamples"], 10000)

    def test_equal_values_have_equal_intervals(self):
        summary = read_summary(self.out)  # the same cases are drawn for every convention
        for organ in ("liver", "all organs"):
            medpy, monai = summary[organ, "dsc", "medpy"], summary[organ, "dsc", "monai"]
            self.assertEqual((medpy["ci95_low"], medpy["ci95_high"]), (monai["ci95_low"], monai["ci95_high"]))

    def test_an_organ_in_no_file_counts_nowhere(self):
        reference, prediction, labels = make_study(samed.path("absent"))
        without, out = samed.path("absent.without"), samed.path("absent.out")
        samed.check(evaluate(reference, prediction, labels, without, "--convention", "all", "--latex"))
        with open(labels, "w", encoding="utf-8") as stream:
            json.dump({"labels": {**ORGANS, "spleen": 9}, "colors": {"liver": "#f58230"}}, stream)
        samed.check(evaluate(reference, prediction, labels, out, "--convention", "all", "--latex"))
        expected, found = read_summary(without), read_summary(out)
        self.assertEqual({key: row for key, row in found.items() if key[0] != "spleen"}, expected)
        self.assertEqual((found["spleen", "dsc", "samed"]["n"], found["spleen", "dsc", "samed"]["mean"]), ("0", "nan"))
        self.assertEqual([organ["occurs"] for organ in samed.read_json(out, "summary.json")["organs"]], [True, True, False, True])
        pages = []
        for folder in (without, out):
            with open(os.path.join(folder, "report.html"), encoding="utf-8") as stream:
                pages.append(stream.read())
        self.assertEqual(*(page.count('class="box"') for page in pages))
        self.assertEqual(*(re.search(r"<dt>Mean DSC.*?</dd>", page, re.S).group(0) for page in pages))
        with open(os.path.join(out, "table.tex"), encoding="utf-8") as stream:
            self.assertIn("\nspleen & -- & -- & -- & -- & 0 & 0 & 0 \\\\\n", stream.read())

    def test_table_means_what_the_summary_means(self):
        out = samed.path("numbers.tex")
        samed.check(evaluate(*self.study, out, "--convention", "reloaded", "--latex"))
        with open(os.path.join(out, "table.tex"), encoding="utf-8") as stream:
            row = re.search(r"\nall organs & (.*) ", stream.read()).group(1).split(" & ")
        self.assertEqual(row[4], "21/19/21/21")  # pairs of a case and an organ, as the counts behind it
        for at, (metric, scale) in enumerate((("dsc", 100), ("hd95", 1))):
            self.assertIn("$%.2f \\pm" % (scale * float(read_summary(out)["all organs", metric, "reloaded"]["mean"])), row[at])

    def test_nnunet_schema(self):
        summary = samed.read_json(self.out, "nnunet", "summary.json")
        self.assertEqual(set(summary), {"metric_per_case", "mean", "foreground_mean"})
        keys = {"Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref"}
        self.assertEqual(set(summary["foreground_mean"]), keys)
        self.assertEqual(set(summary["mean"]), {"1", "2", "700"})
        self.assertEqual(len(summary["metric_per_case"]), 7)
        for case in summary["metric_per_case"]:
            self.assertEqual(set(case), {"metrics", "prediction_file", "reference_file"})
            for values in case["metrics"].values():
                self.assertEqual(set(values), keys)
                self.assertEqual(values["TP"] + values["FP"] + values["FN"] + values["TN"], DIMS[0] * DIMS[1] * DIMS[2])
        self.assertTrue(math.isnan(summary["metric_per_case"][4]["metrics"]["700"]["Dice"]))  # as nnU-Net: both empty
        values = [c["metrics"]["700"]["Dice"] for c in summary["metric_per_case"] if not math.isnan(c["metrics"]["700"]["Dice"])]
        self.assertAlmostEqual(summary["mean"]["700"]["Dice"], sum(values) / 6, places=12)

    def test_summary_json_holds_provenance(self):
        summary = samed.read_json(self.out, "summary.json")
        self.assertIn("evaluate -q -p", summary["command"])
        self.assertEqual((summary["n_cases"], summary["n_measured"], summary["n_failed"]), (7, 7, 0))
        for case in summary["cases"]:
            self.assertEqual(case["reference_sha256"], samed.digest(case["reference"]))
            self.assertEqual(case["prediction_sha256"], samed.digest(case["prediction"]))
        row = next(r for r in summary["summary"] if (r["organ"], r["metric"], r["convention"]) == ("liver", "dsc", "samed"))
        self.assertEqual(row["mean"], float(read_summary(self.out)["liver", "dsc", "samed"]["mean"]))


class Compare(unittest.TestCase):
    @unittest.skipUnless(numpy and scipy, "NumPy and SciPy are not installed")
    def test_against_scipy(self):
        study = make_study(samed.path("compare"), 12)
        first, second = samed.path("compare.a"), samed.path("compare.b")
        samed.check(evaluate(*study, first))
        for i in range(12):  # another model: the liver is cut off at other places
            write_labels(os.path.join(study[1], f"a{i}_0000_dseg.nii.gz"), paint((1, (2, 2, 2), (6 + i % 6, 12, 9)), (2, (14, 3, 4), (20, 9, 9))))
        samed.check(evaluate(*study, second, "--compare", first))
        row = read_summary(second, "compare.csv")["liver", "dsc", "reloaded"]
        a, b = ([read_metrics(out)[f"a{i}", "liver", "dsc", "reloaded"] for i in range(12)] for out in (first, second))
        difference = numpy.array(b) - numpy.array(a)
        self.assertEqual(int(row["n"]), 12)
        self.assertAlmostEqual(float(row["mean_this_minus_other"]), difference.mean(), places=12)
        self.assertAlmostEqual(float(row["wilcoxon_p"]), scipy.stats.wilcoxon(b, a).pvalue, places=9)
        with open(os.path.join(second, "report.html"), encoding="utf-8") as stream:
            page = stream.read()
        self.assertIn("Δ is this report minus <b>%s</b>" % first, page)
        self.assertIn('<li><a href="#compare">', page.split("</nav>")[0])

    def test_other_conventions_are_told(self):
        study = make_study(samed.path("differ"), 3)
        first, second = samed.path("differ.a"), samed.path("differ.b")
        samed.check(evaluate(*study, first, "--convention", "monai,samed"))
        arguments = ("evaluate", "-p", study[1], "-r", study[0], "--labels", study[2], "-o", second, "--compare", first)
        process = samed.check(samed.run(*arguments, "--convention", "reloaded,samed"))
        told = f"conventions differ: this report has reloaded, samed, {first} has monai, samed"
        self.assertIn(told, process.stderr)
        with open(os.path.join(second, "report.html"), encoding="utf-8") as stream:
            self.assertIn(told, stream.read())
        rows = read_summary(second, "compare.csv")
        self.assertEqual({key[2] for key in rows}, {"samed", "none"})
        self.assertTrue(all(float(row["mean_this_minus_other"]) == 0 for row in rows.values() if row["n"] != "0"))
        process = samed.check(samed.run(*arguments, "--convention", "samed,monai", "--tolerance", "1,3"))
        self.assertIn("lacks 1 of this report's", process.stderr)
        self.assertIn("nsd_3mm in monai", process.stderr)

    def test_a_report_of_other_cases_is_refused(self):
        study = make_study(samed.path("alien"), 2)
        out, other = samed.path("alien.out"), samed.path("alien.other")
        samed.check(evaluate(*study, other))
        with open(os.path.join(other, "metrics.csv"), "w", encoding="utf-8") as stream:
            stream.write("case,organ,metric,convention,value\nx,liver,dsc,reloaded,1\n")
        process = evaluate(*study, out, "--compare", other)
        self.assertEqual(process.returncode, 2)
        self.assertIn("none of its values", process.stderr)
        self.assertEqual(evaluate(*study, out, "--compare", samed.path("no_such_report")).returncode, 2)
        self.assertEqual(evaluate(study[0], study[1], samed.path("no_such_labels.json"), out).returncode, 2)


class Failures(unittest.TestCase):
    def test_bad_pairs_stop_nothing(self):
        reference, prediction, labels = make_study(samed.path("bad"))
        os.remove(os.path.join(prediction, "a0_0000_dseg.nii.gz"))
        os.remove(os.path.join(reference, "a1.nii.gz"))
        with open(os.path.join(reference, "a2.nii.gz"), "wb") as stream:
            stream.write(b"no image")
        write_labels(os.path.join(prediction, "a3_0000_dseg.nii.gz"), paint(), spacing=(1.5, 1.0, 2.6))
        write_labels(os.path.join(prediction, "a4_0000_dseg.nii.gz"), [2.9999] * len(paint()), code="<f4", datatype=16)
        for ranks in (0, 2):
            out = samed.path("bad.out")
            process = samed.check(samed.run("evaluate", "-p", prediction, "-r", reference, "-o", out, "--labels", labels, ranks=ranks), 3)
            self.assertIn("2 of 7 cases measured", process.stderr)
            rows = {row["case"]: row for row in samed.table(os.path.join(out, "failed.tsv"))}
            self.assertEqual({case: row["stage"] for case, row in rows.items()},
                             {"a0": "prediction", "a1_0000": "reference", "a2": "reference", "a3": "grids", "a4": "prediction"})
            self.assertIn("no prediction for this reference", rows["a0"]["text"])
            self.assertIn("2.5", rows["a3"]["text"])  # both affines
            self.assertIn("2.6", rows["a3"]["text"])
            self.assertIn("--round", rows["a4"]["text"])
            self.assertEqual({key[0] for key in read_metrics(out)}, {"a5", "a6"})
            self.assertEqual(read_summary(out)["liver", "dsc", "reloaded"]["n_failed"], "5")
            with open(os.path.join(out, "done"), encoding="utf-8") as stream:
                self.assertEqual(stream.read(), "3\n")
        samed.check(evaluate(reference, prediction, labels, samed.path("bad.more"), "--round", "--resample", "nearest"), 3)
        self.assertEqual({key[0] for key in read_metrics(samed.path("bad.more"))}, {"a3", "a4", "a5", "a6"})

    def test_nothing_valid(self):
        reference, prediction, labels = make_study(samed.path("none"), 2)
        shutil.rmtree(prediction)
        os.makedirs(prediction)
        self.assertEqual(evaluate(reference, prediction, labels, samed.path("none.out")).returncode, 4)
        write_labels(os.path.join(prediction, "b.nii.gz"), paint())
        self.assertEqual(evaluate(reference, prediction, labels, samed.path("none.out")).returncode, 4)

    def test_usage(self):
        for arguments in (["-p", "x"], ["-p", "x", "-r", "y"], ["-p", "x", "-r", "y", "-o", "z", "--convention", "mine"],
                          ["-p", "x", "-r", "y", "-o", "z", "--tolerance", "-1"], ["--list", "l", "-p", "x", "-o", "z"],
                          ["-p", "x", "-r", "y", "-o", "z", "--resample", "linear"]):
            self.assertEqual(samed.run("evaluate", *arguments).returncode, 2, arguments)


class Events(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.reference, cls.prediction, cls.labels = make_study(samed.path("events"), 4)
        os.remove(os.path.join(cls.prediction, "a0_0000_dseg.nii.gz"))
        os.remove(os.path.join(cls.reference, "a1.nii.gz"))
        write_labels(os.path.join(cls.prediction, "a3_0000_dseg.nii.gz"), paint(), spacing=(1.5, 1.0, 2.6))

    def test_json_lines(self):
        out = samed.path("events.out")
        for ranks in (0, 3, 6):  # with six ranks the organs of a case are shared: still one event per case
            process = samed.check(evaluate(self.reference, self.prediction, self.labels, out, "--json", ranks=ranks), 3)
            events = [json.loads(line) for line in process.stdout.splitlines()]
            self.assertEqual([e["event"] for e in events], ["start"] + 4 * ["case"] + ["end"])
            self.assertEqual((events[0]["cases"], events[0]["organs"], events[0]["ranks"]), (4, 3, max(ranks, 1)))
            status = {e["case"]: (e["status"], e.get("stage"), e.get("reason")) for e in events[1:-1]}
            self.assertEqual(status, {"a0": ("failed", "prediction", "not_found"), "a1_0000": ("failed", "reference", "not_found"),
                                      "a2": ("done", None, None), "a3": ("failed", "grids", "mismatch")})
            self.assertEqual((events[-1]["done"], events[-1]["failed"], events[-1]["left"], events[-1]["exit"]), (1, 3, 0, 3))

    def test_dry_run_shows_the_pairs_and_writes_nothing(self):
        out = samed.path("events.dry")
        for ranks in (0, 2):
            text = samed.check(evaluate(self.reference, self.prediction, self.labels, out, "-n", ranks=ranks)).stdout
            self.assertIn("a0: no prediction for", text)
            self.assertIn("a1_0000: no reference for", text)
            self.assertIn("would fail: grids lie", text.replace("a3: ", ""))
            self.assertIn("4 cases, 1 to measure (1 without a prediction, 1 without a reference, 1 would fail), 3 organs", text)
            self.assertFalse(os.path.exists(out))
        process = samed.check(evaluate(self.reference, self.prediction, self.labels, out, "-n", "--json"))
        events = [json.loads(line) for line in process.stdout.splitlines()]
        self.assertEqual([(e["event"], e.get("case"), e.get("status")) for e in events],
                         [("case", "a0", "no prediction"), ("case", "a1_0000", "no reference"), ("case", "a2", "pair"),
                          ("case", "a3", "would fail"), ("plan", None, None)])
        self.assertEqual(events[2]["reference"], os.path.join(self.reference, "a2.nii.gz"))
        self.assertIn("grids lie", events[3]["text"])
        self.assertEqual([events[4][k] for k in ("cases", "to_measure", "without_prediction", "without_reference", "would_fail", "organs")],
                         [4, 1, 1, 1, 1, 3])
        self.assertGreater(events[4]["memory_bytes_per_rank"], 0)
        shutil.copytree(self.reference, samed.path("events.empty"))
        alone = samed.run("evaluate", "-n", "-p", os.path.join(self.prediction, "a1_0000_dseg.nii.gz"), "-r", samed.path("events.empty"), "-o", out)
        self.assertEqual((alone.returncode, os.path.exists(out)), (4, False))


class Layouts(unittest.TestCase):
    def setUp(self):
        shutil.rmtree(samed.path("layouts"), ignore_errors=True)  # what the test before this one renamed
        self.reference, self.prediction, self.labels = make_study(samed.path("layouts"), 3)
        self.out = samed.path("layouts.out")

    def test_list(self):
        pairs = samed.path("pairs.tsv")
        with open(pairs, "w", encoding="utf-8", newline="") as stream:
            stream.write("id\tprediction\treference\r\n# a comment\r\n")
            stream.write("z\tlayouts/pred/a1_0000_dseg.nii.gz\tlayouts/ref/a1.nii.gz\r\n")
            stream.write("y\tlayouts/pred/gone.nii.gz\tlayouts/ref/a0.nii.gz\r\n")
        samed.check(samed.run("evaluate", "-q", "--list", pairs, "-o", self.out, "--labels", self.labels), 3)
        self.assertEqual({key[0] for key in read_metrics(self.out)}, {"z"})
        self.assertEqual([row["case"] for row in samed.table(os.path.join(self.out, "failed.tsv"))], ["y"])

    def test_one_file_on_each_side_is_a_pair(self):
        a, b = os.path.join(self.reference, "a0.nii.gz"), os.path.join(self.prediction, "a1_0000_dseg.nii.gz")
        samed.check(evaluate(a, b, self.labels, self.out))
        self.assertEqual({key[0] for key in read_metrics(self.out)}, {"a0"})

    def test_numbers_behind_other_words(self):
        for name in os.listdir(self.prediction):
            os.rename(os.path.join(self.prediction, name), os.path.join(self.prediction, name.replace("a", "img000", 1)))
        for name in os.listdir(self.reference):
            os.rename(os.path.join(self.reference, name), os.path.join(self.reference, name.replace("a", "label000", 1)))
        samed.check(evaluate(self.reference, self.prediction, self.labels, self.out))
        self.assertEqual({key[0] for key in read_metrics(self.out)}, {f"label000{i}" for i in range(3)})

    def test_one_mask_per_organ(self):
        whole = samed.path("layouts.whole")
        samed.check(evaluate(self.reference, self.prediction, self.labels, whole))
        for i in range(3):
            with gzip.open(os.path.join(self.prediction, f"a{i}_0000_dseg.nii.gz")) as stream:
                voxels = struct.unpack("<%dH" % len(paint()), stream.read()[352:])
            for name, value in (("liver", 1), ("kidney_left", 2), ('Odd,_"NAME"_<b>', 700), ("spleen", 3)):
                mask = [int(v == value) for v in voxels]
                write_labels(samed.path("layouts", "masks", f"a{i}", "segmentations", name + ".nii.gz"), mask, code="<u1", datatype=2)
        masks = samed.path("layouts", "masks")
        samed.check(evaluate(self.reference, masks, self.labels, self.out))
        self.assertEqual(str(read_metrics(self.out)), str(read_metrics(whole)))

    def test_overlapping_masks_are_counted(self):
        folder = samed.path("layouts", "overlap", "a0")
        for name, low, high in (("kidney_left", (0, 0, 0), (4, 4, 4)), ("liver", (2, 0, 0), (6, 4, 4)), ("Left-kidney_mask2", (0, 0, 0), (9, 9, 9))):
            write_labels(os.path.join(folder, name + ".nii.gz"), paint((1, low, high)), code="<u1", datatype=2)
        write_labels(samed.path("layouts", "one", "a0.nii.gz"), paint((1, (2, 0, 0), (6, 4, 4)), (2, (0, 0, 0), (4, 4, 4))))
        samed.check(evaluate(samed.path("layouts", "one"), samed.path("layouts", "overlap"), self.labels, self.out))
        note = samed.read_json(self.out, "summary.json")["cases"][0]["note"]
        self.assertEqual(note, "prediction: 32 voxels in two masks, the first by file name keeps them: left kidney keeps 32 of liver")
        with open(os.path.join(self.out, "report.html"), encoding="utf-8") as stream:
            self.assertIn("left kidney keeps 32 of liver", stream.read().split("<h2")[0])
        self.assertEqual(read_metrics(self.out)["a0", "left kidney", "dsc", "reloaded"], 1)

    def test_map_merges_and_renames(self):
        source = samed.path("layouts", "map.json")
        with open(source, "w", encoding="utf-8") as stream:
            json.dump({"2": "liver", "700": 0}, stream)
        samed.check(evaluate(self.reference, self.prediction, self.labels, self.out, "--map", source))
        metrics = read_metrics(self.out)
        self.assertAlmostEqual(metrics["a0", "liver", "volume_reference_ml", "none"], (10 * 10 * 7 + 6 * 6 * 6) * 3.75 / 1000, places=9)
        self.assertEqual(metrics["a0", "left kidney", "volume_reference_ml", "none"], 0)
        with open(source, "w", encoding="utf-8") as stream:
            json.dump({"2": "no such organ"}, stream)
        self.assertEqual(evaluate(self.reference, self.prediction, self.labels, self.out, "--map", source).returncode, 2)

    def test_regions_are_refused_and_unions_are_maps(self):
        regions, union = samed.path("layouts", "regions.json"), samed.path("layouts", "union.json")
        with open(regions, "w", encoding="utf-8") as stream:
            json.dump({"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}, stream)
        process = evaluate(self.reference, self.prediction, regions, self.out)
        self.assertEqual(process.returncode, 2)
        self.assertIn('label "whole" is a list of values (an nnU-Net region)', process.stderr)
        with open(union, "w", encoding="utf-8") as stream:
            json.dump({"2": 1}, stream)
        samed.check(evaluate(self.reference, self.prediction, self.labels, self.out, "--map", union))
        self.assertAlmostEqual(read_metrics(self.out)["a0", "liver", "volume_reference_ml", "none"], (10 * 10 * 7 + 6 * 6 * 6) * 3.75 / 1000, places=9)

    def test_wrong_map_is_told(self):
        def told(*options):
            return samed.check(samed.run("evaluate", "-v", "-p", self.prediction, "-r", self.reference, "-o", self.out, "--labels", self.labels,
                                         *options)).stderr

        self.assertNotIn("are --labels and --map right", told())
        source = samed.path("layouts", "map.json")
        with open(source, "w", encoding="utf-8") as stream:
            json.dump({"1": "left kidney", "2": "liver", "kidney_left": 2}, stream)
        text = told("--map", "prediction=" + source)
        self.assertIn('organ "liver": reference 1, prediction 2', text)
        self.assertIn('organ "left kidney" (reference 2, prediction 1 (kidney_left)) has no voxel in common in any case', text)
        self.assertEqual(text.count('no case has a mask file "kidney_left"'), 1)
        with open(os.path.join(self.out, "report.html"), encoding="utf-8") as stream:
            table = re.search(r'<table id="labels">.*?</table>', stream.read(), re.S).group(0)
        self.assertIn("1 (kidney_left)", table)
        self.assertEqual(table.count("has no voxel in common"), 2)
        self.assertEqual(samed.read_json(self.out, "summary.json")["organs"][0]["prediction_values"], "2")
        self.assertEqual(told("--map", source).count('no case has a mask file "kidney_left"'), 1)  # a map of both sides: told once
        with open(source, "w", encoding="utf-8") as stream:
            json.dump({"1": 0}, stream)
        self.assertIn('organ "liver" (reference 1, prediction nothing) never occurs in a prediction', told("--map", "prediction=" + source))

    def test_images_without_a_case_are_told(self):
        images = samed.path("layouts", "images")
        for name in ("a0_0000", "elsewhere"):
            write_labels(os.path.join(images, name + ".nii.gz"), paint())
        arguments = ("evaluate", "-p", self.prediction, "-r", self.reference, "-o", self.out, "--labels", self.labels, "--images", images)
        self.assertIn("1 of 3 cases have an image, found by name; none for a1, a2", samed.check(samed.run(*arguments)).stderr)
        os.remove(os.path.join(images, "a0_0000.nii.gz"))
        self.assertIn("0 of 3 cases have an image, found by name; none for a0, a1, a2", samed.check(samed.run(*arguments)).stderr)

    def test_an_image_of_the_only_case_needs_no_name(self):
        image = samed.path("layouts", "images", "scan of monday.nii.gz")
        write_labels(image, paint((900, (0, 0, 0), (12, 20, 16))))
        a, b = (os.path.join(folder, name) for folder, name in ((self.reference, "a0.nii.gz"), (self.prediction, "a1_0000_dseg.nii.gz")))
        pages = []
        for options in ((), ("--images", image)):
            process = samed.check(samed.run("evaluate", "-p", b, "-r", a, "-o", self.out, "--labels", self.labels, *options))
            with open(os.path.join(self.out, "report.html"), encoding="utf-8") as stream:
                pages.append(re.search("data:image/png;base64,[^\"]*", stream.read()).group(0))
        self.assertIn("1 of 1 cases have an image", process.stderr)
        self.assertNotEqual(*pages)
        process = evaluate(a, b, self.labels, self.out, "--images", image + ".gone")
        self.assertEqual(process.returncode, 2)
        self.assertIn("there is no such file or folder", process.stderr)

    def test_a_report_among_inputs_is_refused(self):
        masks = samed.path("layouts", "one_case")
        write_labels(os.path.join(masks, "a0", "liver.nii.gz"), paint((1, (2, 2, 2), (12, 12, 9))), code="<u1", datatype=2)
        with open(os.path.join(self.prediction, "done"), "w", encoding="utf-8") as stream:
            stream.write("of another run")
        os.symlink(self.reference, samed.path("layouts", "link"))
        samed.check(evaluate(self.reference, self.prediction, self.labels, self.out))
        for out, prediction, options, word in ((self.prediction, self.prediction, (), "-p"), (self.reference + "/", self.prediction, (), "-r"),
                                               (samed.path("layouts", "link"), self.prediction, (), "-r"),
                                               (os.path.join(masks, "a0"), masks, (), "inside of the case"),
                                               (os.path.join(masks, "a0", "new", "report"), masks, (), "inside of the case"),
                                               (self.out, self.prediction, ("--compare", self.out), "--compare"),
                                               (self.reference, os.path.join(self.prediction, "a0_0000_dseg.nii.gz"), ("-n",), "-r")):
            process = evaluate(self.reference, prediction, self.labels, out, *options)
            self.assertEqual(process.returncode, 2, (out, process.stderr))
            self.assertIn(word, process.stderr)
            self.assertIn("give the report a folder of its own", process.stderr)
        process = evaluate(os.path.join(self.reference, "a0.nii.gz"), os.path.join(self.prediction, "a0_0000_dseg.nii.gz"), self.labels, self.reference)
        self.assertIn("is where", process.stderr)
        with open(os.path.join(self.prediction, "done"), encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "of another run")
        self.assertFalse(os.path.exists(os.path.join(masks, "a0", "new")))
        self.assertTrue(os.path.exists(os.path.join(self.out, "metrics.csv")))
        inside = os.path.join(self.prediction, "report")  # no case of its own: nothing of it is taken for one
        for _ in range(2):
            samed.check(evaluate(self.reference, self.prediction, self.labels, inside))
        self.assertEqual({key[0] for key in read_metrics(inside)}, {"a0", "a1", "a2"})

    def test_btcv_map(self):
        def thirteen(file, values):
            write_labels(file, paint(*[(v, (i, 0, 0), (i + 1, 6, 6)) for i, v in enumerate(values)]), code="<u1", datatype=2)
        thirteen(samed.path("btcv", "ref", "label0035.nii.gz"), range(1, 14))
        thirteen(samed.path("btcv", "pred", "img0035_dseg.nii.gz"), [1, 2, 3, 4, 0, 5, 6, 7, 0, 0, 8, 0, 0])
        samed.check(samed.run("evaluate", "-q", "-p", samed.path("btcv", "pred"), "-r", samed.path("btcv", "ref"), "-o", self.out, "--map",
                              "reference=btcv", "--latex"))
        metrics = read_metrics(self.out)
        self.assertEqual(len({key[1] for key in metrics}), 8)
        self.assertTrue(all(value == 1 for key, value in metrics.items() if key[2] == "dsc"), metrics)
        with open(os.path.join(self.out, "table.tex"), encoding="utf-8") as stream:
            table = stream.read()
        self.assertIn("SAMed & 81.88 & 20.64 & 87.77 & 69.11 & 80.45 & 79.95 & 94.80 & 72.17 & 88.72 & 82.06", table)
        self.assertIn("This study} & 100.00 & 0.00 & 100.00", table)


    def test_table_below_published_rows_is_in_voxels(self):
        low, high = (2, 2, 2), (12, 12, 9)  # moved by one voxel of 1.5 mm
        write_labels(samed.path("latex", "ref", "x.nii.gz"), paint((5, low, high)))
        write_labels(samed.path("latex", "pred", "x.nii.gz"), paint((5, (3, 2, 2), (13, 12, 9))))
        samed.check(samed.run("evaluate", "-q", "-p", samed.path("latex", "pred"), "-r", samed.path("latex", "ref"), "-o", self.out,
                              "--convention", "reloaded", "--latex"))
        metrics = read_metrics(self.out)
        self.assertEqual((metrics["x", "liver", "hd95", "reloaded"], metrics["x", "liver", "hd95_voxels", "samed"]), (1.5, 1))
        with open(os.path.join(self.out, "table.tex"), encoding="utf-8") as stream:
            table = stream.read()
        self.assertIn("This study} & 90.00 & 1.00 & -- & -- & -- & -- & 90.00 &", table)  # seven of the eight organs are in no file
        self.assertIn("mean HD95 (voxels): over the organs of each case, then over the cases", table)
        self.assertIn("tab:samed-reloaded", table)


class Latex(unittest.TestCase):
    def read(self, *arguments, folder, ranks=0):
        out = samed.path("tex.out")
        samed.check(samed.run("evaluate", "-q", "-p", os.path.join(folder, "pred"), "-r", os.path.join(folder, "ref"), "-o", out, "--latex",
                              *arguments, ranks=ranks))
        with open(os.path.join(out, "table.tex"), encoding="utf-8") as stream:
            return stream.read(), read_summary(out)

    def test_organs_are_rows_in_the_convention_asked_for(self):
        folder = samed.path("tex")
        labels = make_study(folder)[2]
        tex, summary = self.read("--labels", labels, "--convention", "deepmind,monai", "--tolerance", "3", folder=folder)
        self.assertEqual(re.findall(r"label\{(.*?)\}", tex), ["tab:samed-deepmind", "tab:samed-monai"])  # not the paper's organs: no samed
        self.assertNotIn("TransUnet", tex)
        for organ in ("liver", "left kidney"):
            expected = ["$%.2f \\pm %.2f$" % tuple(unit * float(summary[organ, metric, "deepmind"][k]) for k in ("mean", "sd"))
                        for metric, unit in (("dsc", 100), ("hd95", 1), ("nsd_3mm", 100))]
            self.assertIn(" & ".join([organ, *expected]), tex)
        self.assertIn("Organ & DSC (\\%) & HD95 (mm) & NSD at 3~mm (\\%) & $n$ & missed & false pos. \\\\", tex)
        self.assertIn("$ & 7/6/7 & 1 & 0 \\\\", tex)  # the missed kidney's HD95 is left out
        self.assertIn("odd, ''name'' \\textless{}b\\textgreater{} & $", tex)
        self.assertIn("both masks empty: DSC 100, HD95 0, NSD 100; organ missed: DSC 0, HD95 left out, NSD 0; organ predicted", tex)
        self.assertIn("Of 21 organs in 7 cases, 1 missed, 1 predicted where absent, 1 absent from both.", tex)

    def test_names_and_counts(self):
        folder = samed.path("texnames")
        write_labels(os.path.join(folder, "ref", "x.nii.gz"), paint((1, (2, 2, 2), (9, 9, 9))))
        write_labels(os.path.join(folder, "pred", "x.nii.gz"), paint((1, (2, 2, 2), (9, 9, 8))))
        name = r"<a>_b & 5% {c} \d #$~^ ünï"
        with open(os.path.join(folder, "labels.json"), "w", encoding="utf-8") as stream:
            json.dump({"labels": {"background": 0, name: 1, 18 * "a" + "é": 2}}, stream, ensure_ascii=False)  # é: cut short in plots
        tex, _ = self.read("--labels", os.path.join(folder, "labels.json"), folder=folder)
        self.assertIn(r"\textless{}a\textgreater{}\_b \& 5\% \{c\} \textbackslash{}d \#\$\~{}\^{} ünï & $92.31$ & $", tex)
        self.assertIn("Of 1 organ in 1 case, 0 missed", tex)
        with open(samed.path("tex.out", "report.html"), encoding="utf-8") as stream:
            page = stream.read()
        self.assertIn("&lt;a&gt;_b &amp; 5% {c}", page)
        self.assertNotIn("<a>", page)
        self.assertIn("1 case, 2 organs;", page)

    def test_many_organs_are_cut_into_pages(self):
        folder, many = samed.path("texmany"), 90
        for side in ("ref", "pred"):
            write_labels(os.path.join(folder, side, "x.nii.gz"), paint(*[(i, (i % 20, i // 20, 0), (i % 20 + 1, i // 20 + 1, 3)) for i in range(1, many + 1)]))
        with open(os.path.join(folder, "labels.json"), "w", encoding="utf-8") as stream:
            json.dump({"labels": {"background": 0, **{f"organ {i}": i for i in range(1, many + 1)}}}, stream)
        tex, _ = self.read("--labels", os.path.join(folder, "labels.json"), "--convention", "medpy", folder=folder)
        tables = tex.split("\\begin{table}")[1:]
        self.assertEqual([table.count("\norgan ") for table in tables], [40, 40, 10])
        self.assertIn("organs 81 to 90 of 90", tables[2])
        self.assertIn("all organs &", tables[2])

    def test_published_rows_stand_only_under_their_rules(self):
        folder = samed.path("texrules")
        write_labels(os.path.join(folder, "ref", "x.nii.gz"), paint((5, (2, 2, 2), (9, 9, 9))))
        write_labels(os.path.join(folder, "pred", "x.nii.gz"), paint((5, (2, 2, 2), (9, 9, 8)), (6, (2, 12, 2), (5, 15, 6))))
        tex, _ = self.read(folder=folder)
        self.assertIn("TransUnet & 77.48", tex)
        self.assertIn("organ predicted where absent: DSC 100, HD95 0. ", tex)
        tex, _ = self.read("--empty", "samed/dsc:false=0", folder=folder)
        self.assertNotIn("TransUnet", tex)
        self.assertNotIn("(1, 0)", tex)
        self.assertIn("% No published rows:", tex)
        self.assertIn("organ predicted where absent: DSC 0, HD95 0. ", tex.split("tab:samed-paper")[0].split("table*")[1])
        tex, _ = self.read("--empty", "reloaded/hd95:any=worst", folder=folder)  # not the paper's convention
        self.assertIn("TransUnet", tex)
        self.assertIn("organ missed: DSC 0, HD95 the image's diagonal, NSD 0", tex)


SHARED = os.path.join(os.environ.get("SAMED_SHARED", ""), "data")


@unittest.skipUnless(os.path.exists(os.path.join(SHARED, "metrics_reference_A.json")), "no ../shared/data")
class RealPairs(unittest.TestCase):
    """Published label maps, against values that MedPy 0.5 and surface-distance 0.1 gave for them."""

    def check_pair(self, name, about):
        labels, pairs, out = (samed.path(name + ending) for ending in (".json", ".tsv", ".out"))
        with open(labels, "w", encoding="utf-8") as stream:
            json.dump({"background": 0, **{"l" + value: int(value) for value in about["per_label"]}}, stream)
        with open(pairs, "w", encoding="utf-8") as stream:
            stream.write("x\t%s\t%s\n" % tuple(os.path.abspath(os.path.join(SHARED, about[side])) for side in ("seg", "ref")))
        samed.check(samed.run("evaluate", "-q", "--list", pairs, "-o", out, "--labels", labels, "--convention", "all", "--tolerance", "1,2,3"))
        metrics, checked = read_metrics(out), 0
        for value, expected in about["per_label"].items():
            wanted = {("dsc", "medpy"): expected["dice"]}
            if expected.get("medpy_mm"):
                wanted.update({(m, "medpy"): expected["medpy_mm"][k] for m, k in
                               (("hd", "hd"), ("hd95", "hd95"), ("assd_0.5.1", "assd_medpy"), ("assd", "assd_pooled"))})
                wanted.update({("hd95", "reloaded"): expected["medpy_mm"]["hd95_maxdir"], ("assd", "monai"): expected["medpy_mm"]["assd_pooled"],
                               ("hd95_voxels", "samed"): expected["medpy_vox"]["hd95"]})
            if expected.get("surface_distance"):
                wanted.update({(f"nsd_{i}mm", "deepmind"): expected["surface_distance"][f"nsd{i}"] for i in (1, 2, 3)})
                wanted.update({(m, "deepmind"): expected["surface_distance"][m] for m in ("hd", "hd95")})
            for (metric, convention), number in wanted.items():
                found = metrics["x", "l" + value, metric, convention]
                # 1e-6 relative, the agreement with the libraries that is promised
                self.assertAlmostEqual(found, number, delta=1e-6 * abs(number), msg=f"{name} {value} {metric} {convention}")
                checked += 1
        return checked

    def test_all(self):
        reference = samed.read_json(SHARED, "metrics_reference_A.json")
        checked = sum(self.check_pair(name, about) for name, about in reference.items() if not name.startswith("_"))
        self.assertGreater(checked, 200)


class Html(unittest.TestCase):
    def test_stands_alone(self):
        reference, prediction, labels = make_study(samed.path("html"), 3)
        out = samed.path("html.out")
        samed.check(evaluate(reference, prediction, labels, out))
        with open(os.path.join(out, "report.html"), encoding="utf-8") as stream:
            page = stream.read()
        self.assertEqual(re.findall(r"""(?:src|href)=["'](?!data:image/png;base64,|#)""", page), [])
        self.assertNotIn("http://", page)
        self.assertNotIn("https://", page)
        self.assertNotIn('odd, "name" <b>', page)  # a name never becomes markup
        self.assertEqual(page.count("data:image/png;base64,"), 2)  # a0 is equal to its reference
        data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))
        self.assertEqual(data["organs"], [name for name, value in ORGANS.items() if value])
        metrics = read_metrics(out)
        column = next(i for i, c in enumerate(data["columns"]) if (c["n"], c["c"]) == ("DSC", "reloaded"))
        for at, case in enumerate(data["cases"]):
            for o, organ in enumerate(data["organs"]):
                self.assertAlmostEqual(data["values"][at][o * len(data["columns"]) + column], metrics[case[0], organ, "dsc", "reloaded"], places=5)


    def test_perfect_cases_are_not_the_worst(self):
        reference, prediction, labels = make_study(samed.path("perfect"), 3)
        out = samed.path("perfect.out")
        for case in ("a0", "a1", "a2"):
            shutil.copy(os.path.join(reference, case + ".nii.gz"), os.path.join(prediction, case + "_0000_dseg.nii.gz"))
            samed.check(evaluate(reference, prediction, labels, out))
            with open(os.path.join(out, "report.html"), encoding="utf-8") as stream:
                section = stream.read().split('<h2 id="worst">')[1].split("<h2")[0]
            shown = re.findall(r"<h3>\d+\. (\w+)", section)
            self.assertEqual(sorted(shown), [c for c in ("a0", "a1", "a2") if c > case])
            self.assertNotIn("1.000", section)
            if shown:
                legend = "".join(re.findall(r'<p class="legend">.*?</p>', section, re.S))
                for word in ("reference", "prediction", "both", "liver", "left kidney", "odd, &quot;name&quot; &lt;b&gt;", "#f58230"):
                    self.assertIn(word, legend)
        self.assertIn("No measured case differs from its reference.", section)

    def test_few_cases_mark_no_outliers(self):
        for n, is_told in ((7, True), (8, False)):
            reference, prediction, labels = make_study(samed.path(f"few{n}"), n)
            write_labels(os.path.join(prediction, "a0_0000_dseg.nii.gz"), paint((1, (2, 2, 2), (20, 12, 14)), (2, (14, 3, 4), (20, 9, 10))))
            samed.check(evaluate(reference, prediction, labels, samed.path("few.html")))
            with open(samed.path("few.html", "report.html"), encoding="utf-8") as stream:
                page = stream.read()
            self.assertEqual("Too few cases to mark outliers" in page, is_told)
            self.assertEqual("unlike the" in page, not is_told)


if __name__ == "__main__":
    unittest.main()
