"""`samed evaluate`: the same bytes on any number of ranks, numbers against NumPy and SciPy."""
import gzip
import json
import math
import os
import re
import unittest

import samed
from study import DIMS, FILES, ORGANS, SPACING, evaluate, make_study, paint, read_metrics, read_summary, write_labels

try:
    import numpy
except ImportError:
    numpy = None
try:
    import scipy.ndimage
    import scipy.stats
except ImportError:
    scipy = None

SHARED = os.path.join(os.environ.get("SAMED_SHARED", ""), "data")


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


if __name__ == "__main__":
    unittest.main()
