"""`samed evaluate`: what a report may be compared with, and what it says of labels, changes and missing files."""
import json
import os
import shutil
import unittest

import samed
from study import ORGANS, make_study, paint, read_metrics, read_summary, write_labels


def run_evaluate(study, out, *options, ranks=0):
    """Not quiet: warnings are looked at. study is (references, predictions, labels)."""
    return samed.run("evaluate", "-p", study[1], "-r", study[0], "-o", out, "--labels", study[2], *options, ranks=ranks)


def read_text(*path):
    with open(os.path.join(*path), encoding="utf-8") as stream:
        return stream.read()


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.study = make_study(samed.path("terms"), 3)
        cls.other = samed.path("terms.other")
        samed.check(run_evaluate(cls.study, cls.other, "--tolerance", "1"))

    def refuse(self, expected, *options, study=None, ranks=0):
        out = samed.path("terms.out")
        process = run_evaluate(study or self.study, out, "--compare", self.other, *options, ranks=ranks)
        self.assertEqual(process.returncode, 2, process.stderr)
        self.assertIn(expected, process.stderr)
        self.assertFalse(os.path.exists(os.path.join(out, "report.html")))

    def test_the_same_terms_are_compared(self):
        out = samed.path("terms.same")
        samed.check(run_evaluate(self.study, out, "--compare", self.other, "--convention", "reloaded,deepmind"))
        self.assertEqual(read_summary(out, "compare.csv")["liver", "dsc", "reloaded"]["mean_this_minus_other"], "0")

    def test_other_references_are_refused(self):
        changed = (shutil.copytree(self.study[0], samed.path("terms.changed")), *self.study[1:])
        write_labels(os.path.join(changed[0], "a1.nii.gz"), paint((1, (2, 2, 2), (12, 12, 8))))
        for ranks in (0, 2):
            self.refuse("the references of 1 of 3 cases are other files (case a1: SHA-256", study=changed, ranks=ranks)

    def test_other_references_are_refused_whatever_their_names(self):
        """In JSON an id of other bytes than UTF-8 is written with U+FFFD; it still belongs to its case."""
        study = make_study(samed.path("latin"), 3)
        for folder, name in ((study[0], "a1.nii.gz"), (study[1], "a1_0000_dseg.nii.gz")):
            os.rename(os.path.join(folder, name), os.path.join(folder, "Dr\udcfcse.nii.gz"))
        other, out = samed.path("latin.other"), samed.path("latin.out")
        samed.check(run_evaluate(study, other))
        samed.check(run_evaluate(study, out, "--compare", other))
        write_labels(os.path.join(study[0], "Dr\udcfcse.nii.gz"), paint((1, (2, 2, 2), (12, 12, 8))))
        process = run_evaluate(study, out, "--compare", other)
        self.assertEqual(process.returncode, 2)
        self.assertIn("the references of 1 of 3 cases are other files", process.stderr)

    def test_other_rules_are_refused(self):
        self.refuse('rules for empty masks (hd95 of reloaded, missed) differ: "worst" here, "left out" there', "--empty", "hd95:missed=worst")
        self.refuse('--resample differ: "nearest" here, "none" there', "--resample", "nearest")
        self.refuse('--round differ: "yes" here, "no" there', "--round")
        self.refuse('--grid-tolerance differ: "2" here, "0.05" there', "--grid-tolerance", "2")
        out = samed.path("terms.rules")  # rules of a convention that the other report has not: nothing to refuse
        samed.check(run_evaluate(self.study, out, "--compare", self.other, "--convention", "samed,monai", "--empty", "monai/hd95:missed=9"))

    def test_other_labels_are_refused(self):
        labels = samed.path("terms.labels.json")
        with open(labels, "w", encoding="utf-8") as stream:
            json.dump({"labels": {**ORGANS, "spleen": 9}}, stream)
        self.refuse('names of organs differ: "spleen" here', study=(*self.study[:2], labels))
        with open(labels, "w", encoding="utf-8") as stream:
            json.dump({"5": "liver"}, stream)
        self.refuse('labels of the reference differ: "1, 5" here, "1" there', "--map", "reference=" + labels)
        out = samed.path("terms.map")  # predictions of another program have other labels
        samed.check(run_evaluate(self.study, out, "--compare", self.other, "--map", "prediction=" + labels))

    def test_a_report_without_terms_is_refused(self):
        other = samed.path("terms.bare")
        os.makedirs(other, exist_ok=True)
        with open(os.path.join(other, "metrics.csv"), "w", encoding="utf-8") as stream:
            stream.write("case,organ,metric,convention,value\na0,liver,dsc,reloaded,1\n")
        process = run_evaluate(self.study, samed.path("terms.out"), "--compare", other)
        self.assertEqual(process.returncode, 2)
        self.assertIn("summary.json is not there", process.stderr)


class Missing(unittest.TestCase):
    def test_missing_predictions_count_as_empty(self):
        study = make_study(samed.path("missing"))
        os.remove(os.path.join(study[1], "a0_0000_dseg.nii.gz"))
        os.remove(os.path.join(study[0], "a1.nii.gz"))
        write_labels(os.path.join(study[1], "a5_0000_dseg.nii.gz"), paint(), spacing=(1.5, 1.0, 2.6))
        out, worst, two = (samed.path("missing." + name) for name in ("fail", "worst", "two"))
        samed.check(run_evaluate(study, out, "--latex"), 3)
        text = "1 case without a prediction, 1 prediction without a reference, 1 case not readable or on another grid"
        self.assertIn(text, read_text(out, "table.tex"))
        self.assertIn(text, read_text(out, "report.html"))
        samed.check(run_evaluate(study, worst, "--latex", "--nnunet", "--missing", "worst"), 3)
        samed.check(run_evaluate(study, two, "--latex", "--nnunet", "--missing", "worst", ranks=2), 3)
        for name in ("metrics.csv", "summary.csv", "summary.json", "report.html", "table.tex", "nnunet/summary.json"):
            self.assertEqual(read_text(worst, name).replace(worst, two), read_text(two, name), name)
        self.assertIn("1 missing prediction counted as empty, 1 prediction without", read_text(worst, "table.tex"))
        before, after = read_metrics(out), read_metrics(worst)
        self.assertEqual({key: str(value) for key, value in after.items() if key[0] != "a0"}, {key: str(value) for key, value in before.items()})
        for organ in ("liver", "left kidney"):
            self.assertEqual((after["a0", organ, "dsc", "reloaded"], str(after["a0", organ, "hd95", "reloaded"])), (0, "nan"))
            self.assertGreater(after["a0", organ, "volume_reference_ml", "none"], 0)
            expected = [int(read_summary(folder)[organ, "dsc", "reloaded"]["n_missed"]) for folder in (out, worst)]
            self.assertEqual(expected[0] + 1, expected[1])
        summary = samed.read_json(worst, "summary.json")
        self.assertEqual([summary[key] for key in ("missing", "n_measured", "n_missing_counted_empty", "n_without_prediction",
                                                   "n_without_reference", "n_unreadable")], ["worst", 5, 1, 0, 1, 1])
        process = run_evaluate(study, samed.path("missing.other"), "--compare", out, "--missing", "worst")
        self.assertIn('--missing differ: "worst" here, "fail" there', process.stderr)
        plan = samed.check(run_evaluate(study, out, "-n", "--missing", "worst")).stdout
        self.assertIn("7 cases, 5 to measure (0 without a prediction, 1 without a reference, 1 would fail)", plan)
        self.assertEqual(run_evaluate(study, out, "--missing", "best").returncode, 2)


if __name__ == "__main__":
    unittest.main()
