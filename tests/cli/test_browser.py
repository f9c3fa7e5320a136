"""The pages in a real browser (Chromium without a window). The report draws, in light, in dark and on paper, and it sorts; the page of a
training run shows its pictures and cuts nothing.

Skips (77) where there is no Chromium."""
import os
import re
import shutil
import struct
import subprocess
import sys
import unittest
import zlib

import samed
import study
import test_train

BROWSER = next((found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found), None)


def browse(page, *options):
    """Runs the browser on a page; returns its standard output."""
    process = subprocess.run([BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                              "--user-data-dir=" + samed.path("profile"), "--virtual-time-budget=5000", *options, "file://" + page],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, env=samed.environment())
    if process.returncode != 0:
        raise AssertionError(f"{process.args}: {process.returncode}\n{process.stderr}")
    return process.stdout


def read_png(file):
    """(width, height, rows of RGB bytes) of an 8-bit RGB or RGBA picture."""
    with open(file, "rb") as stream:
        content = stream.read()
    width, height, depth, kind = struct.unpack(">IIBB", content[16:26])
    assert depth == 8 and kind in (2, 6), (depth, kind)
    data, at = b"", 8
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at:at + 8])
        data += content[at + 8:at + 8 + size] if name == b"IDAT" else b""
        at += size + 12
    raw, n = zlib.decompress(data), 3 if kind == 2 else 4
    rows, above = [], bytes(width * n)
    for y in range(height):
        row = bytearray(raw[y * (width * n + 1) + 1:(y + 1) * (width * n + 1)])
        unfilter(raw[y * (width * n + 1)], row, above, n)
        above = bytes(row)
        rows.append(above)
    return width, height, n, rows


def unfilter(kind, row, above, n):
    """Section 9.2 of the PNG standard, in place."""
    if kind == 2:
        row[:] = bytes((a + b) & 255 for a, b in zip(row, above))
    for x in range(len(row) if kind in (1, 3, 4) else 0):
        left, up, corner = (row[x - n], above[x], above[x - n]) if x >= n else (0, above[x], 0)
        row[x] = (row[x] + (left if kind == 1 else (left + up) // 2 if kind == 3 else paeth(left, up, corner))) & 255


def paeth(left, up, corner):
    a, b, c = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    return left if a <= b and a <= c else up if b <= c else corner


def colours(file):
    """How many pixels of each colour, from every fourth row and column."""
    width, height, n, rows = read_png(file)
    count = {}
    for y in range(0, height, 4):
        for x in range(0, width, 4):
            colour = rows[y][x * n:x * n + 3]
            count[colour] = count.get(colour, 0) + 1
    return count


@unittest.skipUnless(BROWSER, "there is no Chromium")
class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.study = study.make_study(samed.path("browser"))
        cls.out = samed.path("browser.out")
        samed.check(study.evaluate(*cls.study, cls.out, "--convention", "all"))
        cls.page = os.path.join(cls.out, "report.html")

    def run_script(self, script, *options, media="@media print"):
        """The page's elements after a script of our own ran at its end; media "@media all" shows it as it is printed."""
        with open(self.page, encoding="utf-8") as stream:
            page = stream.read().replace("@media print", media)
        changed = samed.path("changed.html")
        with open(changed, "w", encoding="utf-8") as stream:
            stream.write(page.replace("</body>", "<script>" + script + "</script></body>"))
        return browse(changed, "--dump-dom", *options)

    def test_light_and_dark(self):
        pictures = {}
        for scheme, option in (("light", 1), ("dark", 0)):
            pictures[scheme] = samed.path(scheme + ".png")
            browse(self.page, "--window-size=1280,2600", f"--screenshot={pictures[scheme]}", f"--blink-settings=preferredColorScheme={option}")
        paper = {"light": bytes((255, 255, 255)), "dark": bytes((18, 22, 27))}
        for scheme, file in pictures.items():
            count = colours(file)
            self.assertEqual(max(count, key=count.get), paper[scheme])
            self.assertGreater(len(count), 300)  # text, boxes and pictures: an empty page has one colour
            for contour in ((64, 224, 128), (255, 80, 208)):  # reference and prediction, pixel by pixel only where unscaled: near is enough
                near = [c for c in count if all(abs(a - b) < 60 for a, b in zip(c, contour))]
                self.assertTrue(near, f"{scheme}: no pixel like {contour}")

    def test_tables_are_not_cut(self):
        """The widest there are, with distances in voxels and a comparison, on a common screen and on A4 across (273 mm are 1032 pixels)."""
        first = samed.path("wide.first")
        samed.check(study.evaluate(*self.study, first, "--convention", "all", "--voxels"))
        samed.check(study.evaluate(*self.study, samed.path("wide"), "--convention", "all", "--voxels", "--compare", first))
        self.page = samed.path("wide", "report.html")
        for width, media in ((1300, "@media print"), (1032, "@media all")):
            page = self.run_script("""
                document.querySelectorAll('section').forEach(s => { s.hidden = false; });
                const all = Array.from(document.querySelectorAll('section .scroll'));
                document.title = all.length + ' ' + all.filter(e => e.scrollWidth > e.clientWidth + 1).length;""", f"--window-size={width},2000", media=media)
            tables, cut = re.search(r"<title>(\d+) (\d+)</title>", page).groups()
            self.assertGreaterEqual(int(tables), 10)
            self.assertEqual(int(cut), 0, width)

    def test_print(self):
        file = samed.path("report.pdf")
        browse(self.page, "--no-pdf-header-footer", f"--print-to-pdf={file}")
        with open(file, "rb") as stream:
            content = stream.read()
        self.assertTrue(content.startswith(b"%PDF"))
        pages = len(re.findall(rb"/Type\s*/Page\b", content))
        self.assertTrue(3 <= pages <= 40, pages)

    def test_paper_keeps_tables_and_cases_whole(self):
        page = self.run_script("""
            const style = name => getComputedStyle(document.querySelector(name));
            document.title = [style('section .scroll').breakInside, style('.case').breakInside,
                              style('.case').gridTemplateColumns.split(' ').length].join(' ');""", "--window-size=700,900", media="@media all")
        self.assertEqual(re.search(r"<title>(.*?)</title>", page).group(1), "avoid avoid 2")  # on paper two cases fit on a page

    def test_script_builds_the_long_table(self):
        page = browse(self.page, "--dump-dom")
        table = re.search(r'<table id="cases">(.*?)</table>', page, re.S).group(1)
        self.assertEqual(table.count("<tr>"), 1 + 21)
        self.assertIn('aria-sort="ascending"', table)
        first = re.search(r"<tbody><tr>(.*?)</tr>", table, re.S).group(1)
        self.assertIn("<td>0.000</td>", first)  # worst first
        self.assertEqual(len(re.findall(r"<section [^>]*hidden", page)), 4)  # one convention of five is shown

    def test_lost_organs_are_the_worst(self):
        """A missed organ without a value stands above every number, not behind them."""
        out = samed.path("browser.lost")
        samed.check(study.evaluate(*self.study, out, "--empty", "dsc:missed=nan,dsc:false=nan"))
        page = browse(os.path.join(out, "report.html"), "--dump-dom")
        body = re.search(r'<table id="cases">.*?<tbody>(.*?)</tbody>', page, re.S).group(1)
        states = re.findall(r"<tr><td[^>]*>[^<]*</td><td[^>]*>[^<]*</td><td[^>]*>([^<]*)</td><td>([^<]*)</td>", body)
        self.assertEqual(states[:2], [("missed", "–"), ("false positive", "–")])
        self.assertEqual(len(states), 21)

    def test_paper_says_what_is_cut(self):
        out = samed.path("browser.many")
        samed.check(study.evaluate(*study.make_study(samed.path("browser.50"), 18), out))
        self.page = os.path.join(out, "report.html")
        script = "const e = document.getElementById('cases-cut'); document.title = e.offsetHeight + '|' + e.textContent;"
        for media, is_seen in (("@media print", False), ("@media all", True)):
            height, text = re.search(r"<title>(\d+)\|(.*?)</title>", self.run_script(script, media=media)).groups()
            self.assertEqual((int(height) > 0, text), (is_seen, "Rows 1–50 of 54; all values are in metrics.csv."))
        self.page = os.path.join(self.out, "report.html")
        self.assertIn("<title>0|</title>", self.run_script(script, media="@media all"))  # 21 rows: nothing is cut

    def test_interval_instead_of_sd(self):
        page = self.run_script("""
            const seen = name => Array.from(document.querySelectorAll('section:not([hidden]) td ' + name)).filter(e => e.offsetHeight > 0).length;
            const before = [seen('.sd'), seen('.ci')];
            document.querySelector('[data-beside=ci]').click();
            document.title = [...before, seen('.sd'), seen('.ci'), document.querySelectorAll('.choice [aria-pressed=true]').length].join(' ');""")
        sd, no_ci, no_sd, ci, pressed = map(int, re.search(r"<title>([\d ]+)</title>", page).group(1).split())
        self.assertGreater(sd, 20)
        self.assertEqual((no_ci, no_sd, ci, pressed), (0, 0, sd, 2))  # the convention, and what stands beside the mean

    def test_sorting_and_choosing(self):
        page = self.run_script("""
            document.querySelector('[data-choose=deepmind]').click();
            const table = document.querySelector('section[data-convention=deepmind] table.sortable');
            const heads = Array.from(table.tHead.rows[0].cells), dsc = heads.findIndex(h => h.textContent === 'DSC');
            heads[dsc].querySelector('button').click();
            const up = Array.from(table.tBodies[0].rows).map(r => r.cells[dsc].dataset.v);
            heads[dsc].querySelector('button').click();
            const down = Array.from(table.tBodies[0].rows).map(r => r.cells[dsc].dataset.v);
            document.title = JSON.stringify([up, down, document.getElementById('cases-of').textContent]);""")
        up, down, name = re.search(r"<title>\[\[(.*?)\],\[(.*?)\],&?\"?(.*?)\"?\]</title>", page).groups()
        values = [[float(v.strip('"')) for v in text.split(",")] for text in (up, down)]
        self.assertEqual(values[0][:-1], sorted(values[0][:-1]))  # the last row is all organs and stays
        self.assertEqual(values[1][:-1], sorted(values[0][:-1], reverse=True))
        self.assertEqual(values[0][-1], values[1][-1])
        self.assertEqual(name, "deepmind")


@unittest.skipUnless(BROWSER, "there is no Chromium")
class TrainPage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.out = samed.path("browser.train")  # rates of many digits: the widest labels of an axis
        samed.check(test_train.train(cls.out, "--steps", 3, "--lr", "1.2345678e-7", "--checkpoints", 1))
        cls.page = os.path.join(cls.out, "train.html")

    def test_nothing_is_cut(self):
        with open(self.page, encoding="utf-8") as stream:
            page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", stream.read())  # it forbids the script that measures
        script = """
            const faults = [];
            for (const svg of document.querySelectorAll('svg'))
                for (const text of svg.querySelectorAll('text')) {
                    const a = svg.getBoundingClientRect(), b = text.getBoundingClientRect();
                    if (b.left < a.left || b.right > a.right + 1 || b.top < a.top - 1 || b.bottom > a.bottom + 1) faults.push(text.textContent);
                }
            if (document.documentElement.scrollWidth > window.innerWidth) faults.push('page');
            document.title = document.querySelectorAll('svg text').length + ' ' + document.images[0].naturalWidth + ' ' + faults.join();"""
        changed = samed.path("changed_train.html")
        with open(changed, "w", encoding="utf-8") as stream:
            stream.write(page.replace("</body>", "<script>" + script + "</script></body>"))
        for width in (1300, 800):
            found = browse(changed, "--dump-dom", f"--window-size={width},2000")
            n_texts, image_width, faults = re.search(r"<title>(\d+) (\d+) (.*?)</title>", found).groups()
            self.assertEqual((int(n_texts), faults), (24, ""), width)  # four at each of six curves
            self.assertGreater(int(image_width), 400)

    def test_pictures_are_shown(self):
        """In the page as it is, which forbids itself everything from outside."""
        picture = samed.path("train.png")
        browse(self.page, "--window-size=1300,4000", f"--screenshot={picture}")
        count = colours(picture)
        for contour in ((64, 224, 128), (255, 80, 208)):
            self.assertTrue([c for c in count if all(abs(a - b) < 60 for a, b in zip(c, contour))], f"no pixel like {contour}")


if __name__ == "__main__":
    if not BROWSER:
        print("skipped: there is no Chromium")
        sys.exit(77)
    unittest.main()
