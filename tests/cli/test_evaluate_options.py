"""`samed evaluate`: options one by one; many organs and the largest label; a run that is stopped."""
import json
import os
import re
import signal
import unittest

import samed
from study import evaluate, make_study, paint, read_metrics, read_summary, write_labels


class Options(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.reference, cls.prediction, cls.labels = make_study(samed.path("options"))
        cls.out = samed.path("options.out")

    def evaluate(self, *options, code=0, ranks=0):
        return samed.check(evaluate(self.reference, self.prediction, self.labels, self.out, *options, ranks=ranks), code)

    def test_grid_tolerance(self):
        """A corner that lies 23 x 0.01 mm away: too far by default, near enough when asked."""
        folder = samed.path("grids")
        write_labels(os.path.join(folder, "ref", "a.nii.gz"), paint((1, (2, 2, 2), (12, 12, 9))))
        write_labels(os.path.join(folder, "pred", "a.nii.gz"), paint((1, (2, 2, 2), (12, 12, 9))), spacing=(1.51, 1.0, 2.5))
        arguments = (os.path.join(folder, "ref"), os.path.join(folder, "pred"), self.labels, self.out)
        for options, code in (((), 4), (("--grid-tolerance", "0.22"), 4), (("--grid-tolerance", "0.24"), 0)):
            samed.check(evaluate(*arguments, *options), code)
        self.assertEqual(evaluate(*arguments, "--grid-tolerance", "-1").returncode, 2)

    def test_seed_changes_intervals_alone(self):
        rows = []
        for seed in (0, 0, 7):
            self.evaluate("--seed", seed)
            rows.append(read_summary(self.out)["liver", "dsc", "reloaded"])
        self.assertEqual(rows[0], rows[1])
        changed = {key for key in rows[0] if rows[0][key] != rows[2][key]}
        self.assertTrue(changed)
        self.assertLessEqual(changed, {"ci95_low", "ci95_high"})
        self.assertEqual(samed.read_json(self.out, "summary.json")["seed"], 7)

    def test_worst(self):
        for n in (0, 2, 100):
            self.evaluate("--worst", n)
            with open(os.path.join(self.out, "report.html"), encoding="utf-8") as stream:
                page = stream.read()
            self.assertEqual(page.count("data:image/png;base64,"), min(n, 6))  # a0 is equal to its reference
            self.assertEqual("None asked for." in page, n == 0)
        self.evaluate("--worst", 101, code=2)

    def test_predictions_of_totalsegmentator(self):
        """Label maps and folders of masks, beside references of the study's own labels."""
        folder, table = samed.path("ts"), samed.path("ts.labels.json")
        with open(table, "w", encoding="utf-8") as stream:
            json.dump({"labels": {"background": 0, "liver": 7, "left kidney": 2, "tumour": 9}}, stream)
        liver, kidney = ((2, 2, 2), (12, 12, 9)), ((14, 3, 4), (20, 9, 10))
        write_labels(os.path.join(folder, "ref", "a.nii.gz"), paint((7, *liver), (2, *kidney)))
        write_labels(os.path.join(folder, "map", "a.nii.gz"), paint((5, *liver), (3, *kidney), (90, (0, 0, 0), (2, 2, 2))))
        for name, cube in (("liver", liver), ("kidney_left", kidney), ("skull", ((0, 0, 0), (2, 2, 2)))):
            write_labels(os.path.join(folder, "masks", "a", name + ".nii.gz"), paint((1, *cube)), code="<u1", datatype=2)
        for side in ("map", "masks"):
            samed.check(evaluate(os.path.join(folder, "ref"), os.path.join(folder, side), table, self.out, "--map", "prediction=totalsegmentator"))
            metrics = read_metrics(self.out)
            self.assertEqual([metrics["a", organ, "dsc", "reloaded"] for organ in ("liver", "left kidney", "tumour")], [1, 1, 1])
            self.assertEqual(samed.read_json(self.out, "summary.json")["unnamed_labels"], [])

    def test_many_organs_and_the_largest_label(self):
        """More organs than a byte can number, one of them 65535."""
        folder, n = samed.path("many"), 300
        values = [*range(1, n), 65535]
        cubes = [(value, (i % 24, i // 24, 2), (i % 24 + 1, i // 24 + 1, 5)) for i, value in enumerate(values)]
        write_labels(os.path.join(folder, "ref", "a.nii.gz"), paint(*cubes))
        write_labels(os.path.join(folder, "pred", "a.nii.gz"), paint(*cubes[:-1], (65535, (0, 19, 2), (2, 20, 5))))
        table = os.path.join(folder, "labels.json")
        with open(table, "w", encoding="utf-8") as stream:
            json.dump({"labels": {"background": 0, "ignore": 400, **{f"organ {value}": value for value in values}}}, stream)
        samed.check(evaluate(os.path.join(folder, "ref"), os.path.join(folder, "pred"), table, self.out))
        metrics = read_metrics(self.out)
        self.assertEqual({key[1] for key in metrics}, {f"organ {value}" for value in values})
        self.assertEqual([metrics["a", f"organ {value}", "dsc", "reloaded"] for value in (1, 255, 256, 257, 299)], [1] * 5)
        self.assertEqual(metrics["a", "organ 65535", "dsc", "reloaded"], 0)
        self.assertAlmostEqual(metrics["a", "organ 65535", "volume_prediction_ml", "none"], 6 * 3.75 / 1000, places=12)

    def test_stopped_by_a_signal(self):
        """Exit 75, no report, and the same command runs again."""
        folder = samed.path("stop")
        pairs = os.path.join(folder, "pairs.tsv")
        dims = (96, 96, 96)
        write_labels(os.path.join(folder, "a.nii.gz"), [(at * 2654435761 >> 7) % 3 for at in range(dims[0] * dims[1] * dims[2])], dims=dims)
        with open(pairs, "w", encoding="utf-8") as stream:
            stream.writelines(f"c{i:04}\ta.nii.gz\ta.nii.gz\n" for i in range(2000))
        out = samed.path("stop.out")
        process = samed.start("evaluate", "--list", pairs, "-o", out, "--labels", self.labels, "--json")
        line = process.stdout.readline()
        while json.loads(line)["event"] != "case":
            line = process.stdout.readline()
        os.kill(process.pid, signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 75, stderr)
        self.assertIn("stopped by", stderr)
        end = json.loads(stdout.splitlines()[-1])
        self.assertEqual((end["event"], end["exit"]), ("end", 75))
        self.assertGreater(end["left"], 0)
        self.assertFalse(os.path.exists(os.path.join(out, "report.html")))
        self.assertEqual(samed.leftovers(out), [])
        with open(pairs, "w", encoding="utf-8") as stream:
            stream.write("c0\ta.nii.gz\ta.nii.gz\n")
        samed.check(samed.run("evaluate", "-q", "--list", pairs, "-o", out, "--labels", self.labels))

    def test_dry_run_counts_what_is_held(self):
        """A map that is brought to another grid is held twice for a moment; images cost their samples."""
        folder, dims = samed.path("held"), (200, 200, 100)
        for side in ("ref", "pred"):
            write_labels(os.path.join(folder, side, "a.nii.gz"), [0] * (dims[0] * dims[1] * dims[2]), dims=dims, code="<u1", datatype=2)

        def count(*options):
            text = samed.check(evaluate(os.path.join(folder, "ref"), os.path.join(folder, "pred"), self.labels, self.out, "-n", *options)).stdout
            return int(re.search(r"memory: about (\d+) MB per rank", text).group(1))

        self.assertEqual(count("--resample", "nearest") - count(), 4)
        self.assertEqual(count("--images", os.path.join(folder, "ref")) - count(), 34)


if __name__ == "__main__":
    unittest.main()
