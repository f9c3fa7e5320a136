"""`samed evaluate`: what a report may be compared with, and what it says of labels, changes and missing files."""
import json
import os
import shutil
import unittest

import samed
from test_evaluate import ORGANS, make_study, paint, read_summary, write_labels


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

    def test_other_rules_are_refused(self):
        self.refuse('rules for empty masks (hd95 of reloaded, missed) differ: "worst" here, "left out" there', "--empty", "hd95:missed=worst")
        self.refuse('--resample differ: "nearest" here, "none" there', "--resample", "nearest")
        self.refuse('--round differ: "yes" here, "no" there', "--round")
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


if __name__ == "__main__":
    unittest.main()
