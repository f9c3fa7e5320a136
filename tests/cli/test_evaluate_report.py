"""`samed evaluate`: the tables for LaTeX and the page."""
import json
import os
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


if __name__ == "__main__":
    unittest.main()
