"""`samed evaluate`: what labels mean. Voxels to ignore, labels without a name, rounding, tables beside the references, maps in turn."""
import json
import os
import shutil
import unittest

import samed
from study import ORGANS, evaluate, make_study, paint, read_metrics, write_labels

LIVER, MOVED = (1, (2, 2, 2), (12, 12, 9)), (1, (2, 2, 2), (10, 12, 9))


def write_json(file, value):
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
    return file


class Labels(unittest.TestCase):
    def setUp(self):
        self.folder = samed.path("names")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.reference, self.prediction, self.labels = make_study(self.folder, 3)
        self.out = samed.path("names.out")

    def tell(self, *options, prediction=None, code=0):
        """Without --labels, with what is told."""
        process = samed.run("evaluate", "-p", prediction or self.prediction, "-r", self.reference, "-o", self.out, *options)
        return samed.check(process, code).stderr

    def page(self):
        with open(os.path.join(self.out, "report.html"), encoding="utf-8") as stream:
            return stream.read()

    def note(self, index):
        return samed.read_json(self.out, "summary.json")["cases"][index]["note"]

    def test_voxels_to_ignore_are_in_no_number(self):
        """As if neither map had an organ there: the same numbers as of maps in which those voxels are background."""
        part = (9, (8, 2, 2), (12, 12, 9))  # of the liver: 4 x 10 x 7 voxels
        write_labels(os.path.join(self.reference, "a0.nii.gz"), paint(LIVER, part))
        write_labels(os.path.join(self.prediction, "a0_0000_dseg.nii.gz"), paint(LIVER, (2, (8, 2, 2), (9, 4, 4))))
        table = write_json(os.path.join(self.folder, "ignore.json"), {"labels": {**ORGANS, "ignore": 9}})
        for ranks in (0, 6):  # with six ranks the organs of a case are shared
            samed.check(evaluate(self.reference, self.prediction, table, self.out, "--nnunet", ranks=ranks))
            metrics = read_metrics(self.out)
            self.assertNotIn("ignore", {key[1] for key in metrics})
            self.assertEqual(metrics["a0", "liver", "dsc", "reloaded"], 1)
            self.assertAlmostEqual(metrics["a0", "liver", "volume_prediction_ml", "none"], 6 * 10 * 7 * 3.75 / 1000, places=9)
            self.assertEqual(metrics["a0", "left kidney", "volume_prediction_ml", "none"], 0)
            self.assertEqual(self.note(0), "reference: 280 voxels to ignore, left out of both")
            summary = samed.read_json(self.out, "summary.json")
            self.assertEqual((summary["ignore_value"], summary["cases"][0]["n_ignored_voxels"], summary["cases"][1]["n_ignored_voxels"]), (9, 280, 0))
            counts = samed.read_json(self.out, "nnunet", "summary.json")["metric_per_case"][0]["metrics"]["1"]
            self.assertEqual([counts[k] for k in ("TP", "FP", "FN", "TN")], [420, 0, 0, 24 * 20 * 16 - 280 - 420])
            self.assertIn("value 9 of the references: in neither label map (280 voxels)", self.page())
        plain = samed.path("names.plain")
        for folder, name in ((self.reference, "a0.nii.gz"), (self.prediction, "a0_0000_dseg.nii.gz")):
            write_labels(os.path.join(folder, name), paint((1, (2, 2, 2), (8, 12, 9))))
        samed.check(evaluate(self.reference, self.prediction, self.labels, plain))
        self.assertEqual(str(read_metrics(plain)), str(metrics))

    def test_predictions_may_ignore_too(self):
        """A prediction's value to ignore says nothing where the reference has it, and is a label without a name elsewhere."""
        part = (9, (8, 2, 2), (12, 12, 9))
        write_labels(os.path.join(self.reference, "a0.nii.gz"), paint(LIVER, part))
        prediction = os.path.join(self.prediction, "a0_0000_dseg.nii.gz")
        table = write_json(os.path.join(self.folder, "ignore.json"), {"labels": {**ORGANS, "ignore": 9}})
        write_labels(prediction, paint(LIVER, part))
        self.assertNotIn("has no name", self.tell("--labels", table))
        self.assertEqual(self.note(0), "reference: 280 voxels to ignore, left out of both")
        self.assertEqual(samed.read_json(self.out, "summary.json")["unnamed_labels"], [])
        write_labels(prediction, paint(LIVER, (9, (8, 2, 2), (13, 12, 9))))  # 1 x 10 x 7 voxels more
        self.assertIn("label 9 in the predictions of 1 case (70 voxels) has no name in", self.tell("--labels", table))
        self.assertEqual(self.note(0), "reference: 280 voxels to ignore, left out of both; "
                                       "prediction: 70 voxels of labels without a name counted as background: 70 of label 9")
        self.assertEqual(read_metrics(self.out)["a0", "liver", "dsc", "reloaded"], 1)

    def test_other_reports_ignore_the_same(self):
        table = write_json(os.path.join(self.folder, "ignore.json"), {"labels": {**ORGANS, "ignore": 9}})
        samed.check(evaluate(self.reference, self.prediction, self.labels, self.out))
        process = evaluate(self.reference, self.prediction, table, samed.path("names.other"), "--compare", self.out)
        self.assertEqual(process.returncode, 2)
        self.assertIn('values to ignore (-1: none) differ: "9" here, "-1" there', process.stderr)

    def test_training_cannot_ignore(self):
        table = write_json(os.path.join(self.folder, "ignore.json"), {"labels": {**ORGANS, "ignore": 9}})
        images, store = os.path.join(self.folder, "images"), samed.path("names.store")
        for name in os.listdir(self.reference):
            write_labels(os.path.join(images, name), paint(LIVER))
        arguments = ("prepare", "-n", "--images", images, "--masks", self.reference, "-o", store, "--labels", table)
        process = samed.check(samed.run(*arguments), 2)
        self.assertIn("value 9 is to ignore, but training cannot leave voxels out", process.stderr)
        self.assertIn('{"9": 0}', process.stderr)
        samed.check(samed.run(*arguments, "--map", write_json(os.path.join(self.folder, "map.json"), {"9": 0})))

    def test_ignore_is_no_class_of_the_network(self):
        folder, out = samed.study(1), samed.path("names.segmented")
        names = {"background": 0, **{f"organ {value}": value for value in range(1, 9)}}
        table = write_json(os.path.join(self.folder, "nine.json"), {"labels": {**names, "ignore": 9}})
        samed.check(samed.segment(folder, out, "--labels", table))
        with open(os.path.join(out, "labels.tsv"), encoding="utf-8") as stream:
            self.assertNotIn("ignore", stream.read())
        write_json(table, {"labels": {**names, "a ninth": 9}})
        self.assertIn("names label 9 (a ninth)", samed.check(samed.segment(folder, out, "--labels", table), 2).stderr)

    def test_rounding_is_told(self):
        voxels = paint(LIVER)
        voxels[0] = 1.25
        write_labels(os.path.join(self.prediction, "a0_0000_dseg.nii.gz"), [0.99997 if v == 1 else v for v in voxels], code="<f4", datatype=16)
        samed.check(evaluate(self.reference, self.prediction, self.labels, self.out, "--round"))
        self.assertEqual(self.note(0), "prediction: 701 voxels rounded (by at most 0.25)")
        self.assertEqual(self.note(1), "")

    def test_labels_without_a_name_are_told_loudly(self):
        for i in range(2):
            write_labels(os.path.join(self.prediction, f"a{i}_0000_dseg.nii.gz"), paint(MOVED, (9, (0, 0, 0), (3, 1, 1 + i)), (44, (20, 0, 0), (21, 1, 1))))
        write_labels(os.path.join(self.reference, "a2.nii.gz"), paint(LIVER, (65535, (0, 0, 0), (1, 1, 1))))
        text = self.tell("--labels", self.labels)
        for line in ("label 65535 in the references of 1 case (1 voxel) has no name in", "label 9 in the predictions of 2 cases (9 voxels) has no name in",
                     "label 44 in the predictions of 2 cases (2 voxels) has no name in"):
            self.assertIn(line, text)
            self.assertIn(line, self.page().split("<h2")[0])
        self.assertIn(f"{self.labels}: counted as background; name it with --labels, or say with --map what it is", text)
        self.assertIn('<div class="notice"><b>Labels without a name</b>', self.page())  # open, not folded away
        self.assertEqual(samed.read_json(self.out, "summary.json")["unnamed_labels"],
                         [{"side": "reference", "value": 65535, "n_cases": 1, "n_voxels": 1}, {"side": "prediction", "value": 9, "n_cases": 2, "n_voxels": 9},
                          {"side": "prediction", "value": 44, "n_cases": 2, "n_voxels": 2}])
        self.assertEqual(self.note(1), "prediction: 7 voxels of labels without a name counted as background: 6 of label 9, 1 of label 44")
        source = write_json(os.path.join(self.folder, "map.json"), {"9": 0, "44": "liver", "65535": 0})
        self.assertNotIn("has no name", self.tell("--labels", self.labels, "--map", source))
        self.assertEqual(samed.read_json(self.out, "summary.json")["unnamed_labels"], [])

    def test_more_values_than_are_told_apart(self):
        write_labels(os.path.join(self.prediction, "a0_0000_dseg.nii.gz"), paint(LIVER, *[(900 - v, (v, 0, 0), (v + 1, 1, 1)) for v in range(20)]))
        self.tell("--labels", self.labels)
        found = samed.read_json(self.out, "summary.json")["unnamed_labels"]
        self.assertEqual([label["value"] for label in found], [*range(885, 901), None])
        self.assertEqual(found[-1]["n_voxels"], 4)

    def test_long_notes_say_that_they_are_cut(self):
        names = [letter * 110 for letter in "abcdefg"]
        table = write_json(os.path.join(self.folder, "long.json"), {"labels": {name: i + 1 for i, name in enumerate(names)}})
        for name in names:
            write_labels(os.path.join(self.folder, "masks", "a0", name + ".nii.gz"), paint(LIVER), code="<u1", datatype=2)
        samed.check(evaluate(os.path.join(self.reference, "a0.nii.gz"), os.path.join(self.folder, "masks"), table, self.out))
        self.assertEqual(len(self.note(0)), 599)
        self.assertTrue(self.note(0).endswith("..."))

    def test_mask_files_of_no_organ_are_told(self):
        masks = os.path.join(self.folder, "masks")
        for name in ("liver", "livver", "kidney_left", "spleen"):
            for i in range(3):
                write_labels(os.path.join(masks, f"a{i}", name + ".nii.gz"), paint(LIVER), code="<u1", datatype=2)
        self.tell("--labels", self.labels, prediction=masks)
        self.assertIn("prediction: 2 mask files of no organ left out (livver.nii.gz, ...)", self.note(0))
        source = write_json(os.path.join(self.folder, "map.json"), {"livver": 0, "spleen": 0})  # known, and background
        self.tell("--labels", self.labels, "--map", source, prediction=masks)
        self.assertNotIn("of no organ", self.note(0))

    def test_a_table_beside_the_references(self):
        beside = write_json(os.path.join(self.folder, "dataset.json"), {"labels": ORGANS})
        source = write_json(os.path.join(self.folder, "map.json"), {"2": "liver"})
        pairs = os.path.join(self.folder, "pairs.tsv")
        with open(pairs, "w", encoding="utf-8") as stream:
            stream.write("id\tprediction\treference\na0\tpred/a0_0000_dseg.nii.gz\tref/a0.nii.gz\n")
        self.assertIn("organs of " + beside, self.tell())
        found = samed.read_json(self.out, "summary.json")
        self.assertTrue(os.path.samefile(found["labels"], beside))
        self.assertEqual([organ["name"] for organ in found["organs"]], ["liver", "left kidney", 'odd, "name" <b>'])
        self.tell("--map", source)  # a map of the user's own: into the table beside
        found = samed.read_json(self.out, "summary.json")
        self.assertTrue(os.path.samefile(found["labels"], beside))
        self.assertEqual(found["organs"][0]["reference_values"], "1-2")
        samed.check(samed.run("evaluate", "-q", "--list", pairs, "-o", self.out))
        self.assertTrue(os.path.samefile(samed.read_json(self.out, "summary.json")["labels"], beside))
        self.tell("--map", "prediction=totalsegmentator")  # the references keep what is beside them
        found = samed.read_json(self.out, "summary.json")
        self.assertTrue(os.path.samefile(found["labels"], beside))
        self.assertEqual([(organ["reference_values"], organ["prediction_values"]) for organ in found["organs"][:2]],
                         [("1", "5 (liver)"), ("2", "3 (kidney_left)")])
        self.tell("--map", "reference=btcv", code=0)  # it leads to SAMed's organs, whatever the dataset.json calls the references' values
        self.assertEqual(samed.read_json(self.out, "summary.json")["labels"], "SAMed's eight organs (no --labels; --map btcv leads to them)")

    def test_maps_in_turn(self):
        own = write_json(os.path.join(self.folder, "own.json"), {"30": "liver", "6": 0})
        samed.check(samed.run("evaluate", "-q", "-p", self.prediction, "-r", self.reference, "-o", self.out, "--map", own, "--map", "btcv"))
        organs = {organ["name"]: organ["reference_values"] for organ in samed.read_json(self.out, "summary.json")["organs"]}
        self.assertEqual(organs["liver"], "6, 30 (liver)")  # btcv names 6 and not 30
        samed.check(samed.run("evaluate", "-q", "-p", self.prediction, "-r", self.reference, "-o", self.out, "--map", "btcv", "--map", own))
        organs = {organ["name"]: organ["reference_values"] for organ in samed.read_json(self.out, "summary.json")["organs"]}
        self.assertEqual(organs["liver"], "30 (liver)")
        lungs = write_json(os.path.join(self.folder, "lungs.json"), {"labels": {"lung": 1}})
        names = write_json(os.path.join(self.folder, "names.json"), {"lung_left": "lung"})
        process = evaluate(self.reference, self.prediction, lungs, self.out, "--map", names, "--map", "btcv")
        self.assertEqual(process.returncode, 2)
        self.assertIn("the label table names none of its organs", process.stderr)

    def test_numbers_on_the_left_are_values(self):
        for key, target, text in (("0", 1, "is the background, which cannot become an organ"), ("70000", 1, "is no value of a label map"),
                                  ("-1", 0, "is no value of a label map"), ("1.5", 1, "is no value of a label map")):
            source = write_json(os.path.join(self.folder, "map.json"), {key: target})
            process = evaluate(self.reference, self.prediction, self.labels, self.out, "--map", source)
            self.assertEqual(process.returncode, 2, key)
            self.assertIn(text, process.stderr)
        samed.check(evaluate(self.reference, self.prediction, self.labels, self.out, "--map", write_json(source, {"0": 0})))

    def test_two_values_of_one_name_are_refused(self):
        table = write_json(os.path.join(self.folder, "twice.json"), {"labels": {"1": "left kidney", "2": "Kidney_left"}})
        process = evaluate(self.reference, self.prediction, table, self.out)
        self.assertEqual(process.returncode, 2)
        self.assertIn('values 1 and 2 are both "Kidney_left"', process.stderr)

    def test_long_lists_are_not_cut(self):
        """After 256 letters no convention or tolerance may be lost in silence."""
        conventions = ",".join(["reloaded"] * 30 + ["medpy"])
        samed.check(evaluate(self.reference, self.prediction, self.labels, self.out, "--convention", conventions))
        self.assertIn("medpy", {key[3] for key in read_metrics(self.out)})
        for option, value in (("--convention", ",".join(["reloaded"] * 200)), ("--tolerance", "1" + "0" * 2000)):
            process = evaluate(self.reference, self.prediction, self.labels, self.out, option, value)
            self.assertEqual(process.returncode, 2)
            self.assertIn(f"{option}: a list of {len(value)} letters, expected at most 1023", process.stderr)


if __name__ == "__main__":
    unittest.main()
