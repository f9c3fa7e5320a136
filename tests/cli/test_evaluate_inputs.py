"""`samed evaluate`: layouts of other tools, labels and maps; failures that stop nothing; what is told while it runs."""
import gzip
import json
import os
import re
import shutil
import struct
import unittest

import samed
from study import evaluate, make_study, paint, read_metrics, read_summary, write_labels


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
        notes = {case["case"]: case.get("note") for case in samed.read_json(samed.path("bad.more", "summary.json"))["cases"]}
        self.assertEqual(notes["a3"], "prediction resampled to the reference's grid")
        self.assertIn(f"prediction: {len(paint())} voxels rounded (by at most 0.0001)", notes["a4"])
        self.assertEqual(notes["a5"], "")

    def test_a_damaged_header_fails_its_case_only(self):
        reference, prediction, labels = make_study(samed.path("huge"), 3)
        huge = os.path.join(prediction, "a1_0000_dseg.nii.gz")
        write_labels(huge, [0], dims=(32767, 32767, 1000), code="<u1", datatype=2)
        os.truncate(huge, 1 << 30)  # a hole: as long as a gzip file of 10^12 bytes can be, so that only memory speaks against it
        for ranks in (0, 2):
            samed.check(evaluate(reference, prediction, labels, samed.path("huge.out"), ranks=ranks), 3)
            rows = samed.table(samed.path("huge.out", "failed.tsv"))
            self.assertEqual([(row["case"], row["stage"], row["reason"]) for row in rows], [("a1", "prediction", "range")])
            self.assertIn("a1_0000_dseg.nii.gz: the label map's 32767x32767x1000 voxels take", rows[0]["text"])
            self.assertEqual({key[0] for key in read_metrics(samed.path("huge.out"))}, {"a0", "a2"})

    def test_file_names_of_any_bytes(self):
        reference, prediction, labels = make_study(samed.path("bytes"), 3)
        latin = "Dr\udcfcse"  # 0xfc, no UTF-8
        os.rename(os.path.join(reference, "a1.nii.gz"), os.path.join(reference, latin + ".nii.gz"))
        os.rename(os.path.join(prediction, "a1_0000_dseg.nii.gz"), os.path.join(prediction, latin + ".nii.gz"))
        with open(os.path.join(reference, "a2.nii.gz"), "wb") as stream:
            stream.write(b"no image")
        os.rename(os.path.join(reference, "a2.nii.gz"), os.path.join(reference, "a2" + latin + ".nii.gz"))
        out = samed.path("bytes.out")
        samed.check(evaluate(reference, prediction, labels, out, "--nnunet", "--latex"), 3)
        for name in ("summary.json", "nnunet/summary.json", "report.html", "failed.tsv", "table.tex"):
            with open(os.path.join(out, name), encoding="utf-8") as stream:
                text = stream.read()
            self.assertEqual("Dr\ufffdse" in text, name != "table.tex", name)
        self.assertEqual([case["case"] for case in samed.read_json(out, "summary.json")["cases"]][0], "Dr\ufffdse")

    def test_nothing_valid(self):
        reference, prediction, labels = make_study(samed.path("none"), 2)
        shutil.rmtree(prediction)
        os.makedirs(prediction)
        self.assertEqual(evaluate(reference, prediction, labels, samed.path("none.out")).returncode, 4)
        with open(os.path.join(prediction, "a0_0000_dseg.nii.gz"), "wb") as stream:
            stream.write(b"no image")
        process = evaluate(reference, prediction, labels, samed.path("none.out"))
        self.assertEqual(process.returncode, 4)
        self.assertIn("no pair could be measured; ", process.stderr)  # with -q too
        process = evaluate(reference + ".mistyped", prediction, labels, samed.path("none.out"))
        self.assertEqual(process.returncode, 4)
        self.assertIn(f"-r {reference}.mistyped: there is no such file or folder", process.stderr)
        with open(samed.path("none.out", "report.html"), encoding="utf-8") as stream:
            self.assertIn("No case could be measured.", stream.read().split('<h2 id="worst">')[1].split("<h2")[0])
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
        self.assertEqual(note, "prediction: 32 voxels in two masks, the first by file name keeps them: left kidney keeps 32 of liver; "
                               "prediction: 1 mask file of no organ left out (Left-kidney_mask2.nii.gz)")
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
        self.assertIn("1 of 3 cases with an image, found by name; none for a1, a2", samed.check(samed.run(*arguments)).stderr)
        os.remove(os.path.join(images, "a0_0000.nii.gz"))
        self.assertIn("0 of 3 cases with an image, found by name; none for a0, a1, a2", samed.check(samed.run(*arguments)).stderr)

    def test_an_image_of_the_only_case_needs_no_name(self):
        image = samed.path("layouts", "images", "scan of monday.nii.gz")
        write_labels(image, paint((900, (0, 0, 0), (12, 20, 16))))
        a, b = (os.path.join(folder, name) for folder, name in ((self.reference, "a0.nii.gz"), (self.prediction, "a1_0000_dseg.nii.gz")))
        pages = []
        for options in ((), ("--images", image)):
            process = samed.check(samed.run("evaluate", "-p", b, "-r", a, "-o", self.out, "--labels", self.labels, *options))
            with open(os.path.join(self.out, "report.html"), encoding="utf-8") as stream:
                pages.append(re.search("data:image/png;base64,[^\"]*", stream.read()).group(0))
        self.assertIn("1 of 1 case with an image", process.stderr)
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


if __name__ == "__main__":
    unittest.main()
