"""`samed evaluate`: the tables for LaTeX and the page."""
import json
import os
import random
import re
import shutil
import unittest

import samed
from study import ORGANS, evaluate, make_study, paint, read_metrics, read_summary, write_labels


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


class Sizes(unittest.TestCase):
    """Of pictures, volumes and inputs."""

    @staticmethod
    def page(out):
        with open(os.path.join(out, "report.html"), encoding="utf-8") as stream:
            return stream.read()

    def test_pictures_have_room_for_so_many(self):
        """A page stays below 20 MB: of noise a picture takes most of a megabyte."""
        folder, out, dims = samed.path("room"), samed.path("room.out"), (640, 420, 1)
        n, noise = dims[0] * dims[1] * dims[2], random.Random(3)
        write_labels(os.path.join(folder, "a.nii.gz"), [1] * 500 + [0] * (n - 1000) + [1] * 500, dims=dims, spacing=(1, 1, 1))
        write_labels(os.path.join(folder, "b.nii.gz"), [0] * 200 + [1] * 500 + [0] * (n - 700), dims=dims, spacing=(1, 1, 1))
        write_labels(os.path.join(folder, "noise.nii.gz"), [noise.randrange(256) for _ in range(n)], dims=dims, spacing=(1, 1, 1), code="<u1", datatype=2)
        with open(os.path.join(folder, "pairs.tsv"), "w", encoding="utf-8") as stream:
            stream.writelines(f"c{i:02}\tb.nii.gz\ta.nii.gz\tnoise.nii.gz\n" for i in range(60))
        arguments = ("evaluate", "--list", os.path.join(folder, "pairs.tsv"), "-o", out, "--worst", 100)
        process = samed.check(samed.run(*arguments))
        shown = int(re.search(r"has room for the pictures of the first (\d+) of 60 worst cases", process.stderr).group(1))
        page = self.page(out)
        self.assertEqual(page.count("data:image/png;base64,"), shown)
        self.assertEqual(page.count("Left out, to keep this page small."), 60 - shown)
        self.assertIn(f"Pictures of the first {shown} cases only", page)
        self.assertLess(len(page), 20e6)
        self.assertGreater(len(page), 9e6)  # the room was used

    def test_an_image_that_cannot_be_shown_is_told(self):
        reference, prediction, labels = make_study(samed.path("image"), 2)
        images = samed.path("image", "images")
        write_labels(os.path.join(images, "a1.nii.gz"), paint(), spacing=(3, 3, 3))
        for content, reason in ((None, "the image lies on another grid than the reference"), (b"no image", "a1.nii.gz")):
            if content:
                with open(os.path.join(images, "a1.nii.gz"), "wb") as stream:
                    stream.write(content)
            process = samed.check(samed.run("evaluate", "-p", prediction, "-r", reference, "-o", samed.path("image.out"), "--labels", labels,
                                            "--images", images))
            line = next(line for line in process.stderr.splitlines() if "is shown without its image" in line)
            self.assertIn("case a1", line)
            self.assertIn(reason, line)
            self.assertIn("data:image/png;base64,", self.page(samed.path("image.out")))

    def test_volumes_are_of_cases_that_have_the_organ(self):
        """Nine of 20 cases have a kidney, one of twice the size: with eleven times 0 ml among them, nothing would stand out."""
        folder, out = samed.path("volumes"), samed.path("volumes.out")
        for i in range(20):
            kidney = (2, (14, 3, 4), (20, 9, 10 + 6 * (i == 8) - i % 2))
            for side in ("ref", "pred"):
                write_labels(os.path.join(folder, side, f"a{i:02}.nii.gz"), paint((1, (2, 2, 2), (12, 12 + i % 3, 9)), *[kidney] * (i < 9)))
        labels = os.path.join(folder, "labels.json")
        with open(labels, "w", encoding="utf-8") as stream:
            json.dump(ORGANS, stream)
        samed.check(evaluate(os.path.join(folder, "ref"), os.path.join(folder, "pred"), labels, out))
        section = self.page(out).split('<h2 id="volumes">')[1].split("<h2")[0]
        outliers = re.findall(r'<tr><th scope="row">(a\d\d)</th>.*?class="text">([a-z ]*)</td></tr>', section)
        self.assertEqual(outliers, [("a08", "predicted volume unlike the references")])
        row = read_summary(out)["left kidney", "volume_reference_ml", "none"]
        self.assertEqual((row["n"], row["n_left_out"]), ("9", "11"))
        mean = 6 * 6 * (4 * 6 + 4 * 5 + 12) / 9 * 3.75 / 1000
        self.assertAlmostEqual(float(row["mean"]), mean, places=12)
        self.assertEqual(read_metrics(out)["a09", "left kidney", "volume_reference_ml", "none"], 0)  # the value itself is as measured
        table = re.search(r'<table class="dense" id="volume-means">.*?</table>', section, re.S).group(0)
        self.assertIn('left kidney</th><td data-v="9">9</td>', table)
        self.assertIn(f">{mean:.1f}</td>", table)

    def test_inputs_have_hashes(self):
        reference, prediction, labels = make_study(samed.path("inputs"), 1)
        source, pairs, out = samed.path("inputs", "map.json"), samed.path("inputs", "pairs.tsv"), samed.path("inputs.out")
        with open(source, "w", encoding="utf-8") as stream:
            json.dump({"9": 0}, stream)
        with open(pairs, "w", encoding="utf-8") as stream:
            stream.write("a0\tpred/a0_0000_dseg.nii.gz\tref/a0.nii.gz\n")
        samed.check(samed.run("evaluate", "-q", "--list", pairs, "-o", out, "--labels", labels, "--map", "prediction=" + source, "--map", "prediction=totalsegmentator"))
        self.assertEqual(samed.read_json(out, "summary.json")["inputs"],
                         [{"option": option, "file": file, "sha256": samed.digest(file)} for option, file in
                          (("--list", pairs), ("--labels", labels), ("--map", source))])
        for file in (pairs, labels, source):
            self.assertIn(samed.digest(file), self.page(out))

    def test_worst_cases_name_their_convention(self):
        reference, prediction, labels = make_study(samed.path("conventions"), 2)
        out = samed.path("conventions.out")
        samed.check(evaluate(reference, prediction, labels, out, "--convention", "deepmind,samed"))
        section = self.page(out).split('<h2 id="worst">')[1].split("<h2")[0]
        self.assertIn("the numbers are of convention <i>deepmind</i>", section)
        self.assertIn("<caption>Convention <b>deepmind</b></caption>", section)


if __name__ == "__main__":
    unittest.main()
