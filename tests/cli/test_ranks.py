"""The label maps are the same bytes for any ranks, threads and batch, and however cases are shared."""
import gzip
import os
import struct
import unittest

import samed


class Ranks(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study()
        self.reference = samed.path("reference")
        samed.check(samed.segment(self.folder, self.reference, "-q"))
        self.expected = samed.label_maps(self.reference)
        self.assertEqual(len(self.expected), 5)
        self.assertEqual(len(set(self.expected.values())), 5)

    def compare(self, name, *options, ranks=0):
        out = samed.path(f"{self.id()}.{name}")
        samed.check(samed.segment(self.folder, out, "-q", *options, ranks=ranks))
        self.assertEqual(samed.label_maps(out), self.expected, name)
        self.assertEqual(samed.leftovers(out), [])

    def test_ranks_and_shared_cases(self):
        for ranks in (1, 2, 3, 4):
            for team in ("1", "2", "all", "auto"):
                if ranks == 1 and team != "auto":
                    continue
                with self.subTest(ranks=ranks, team=team):
                    self.compare(f"{ranks}.{team}", "--team", team, ranks=ranks)

    def test_batch_and_threads(self):
        for batch, threads in ((3, 1), (1, 2), (16, 2)):
            with self.subTest(batch=batch, threads=threads):
                self.compare(f"b{batch}t{threads}", "--batch", batch, "--threads", threads)

    def test_batch_in_shared_cases(self):
        self.compare("team", "--team", "2", "--batch", "4", ranks=4)

    def test_more_ranks_than_cases_and_slices(self):
        folder = samed.study(cases=1, size=(20, 20, 2), seed=9)
        alone, together = samed.path("few.alone"), samed.path("few.together")
        samed.check(samed.segment(folder, alone, "-q"))
        samed.check(samed.segment(folder, together, "-q", "--team", "all", ranks=4))
        self.assertEqual(samed.label_maps(alone), samed.label_maps(together))
        samed.check(samed.segment(folder, samed.path("few.single"), "-q", "--team", "1", ranks=4))
        self.assertEqual(samed.label_maps(alone), samed.label_maps(samed.path("few.single")))

    def test_more_classes_than_a_byte_holds(self):
        folder, many = samed.study(cases=2, seed=40), samed.path("many")
        samed.check(samed.run("phantom", "-q", "-o", many, "--cases", "0", "--weights", "tiny", "--classes", "300"))
        found = []
        for ranks in (0, 3):
            out = samed.path(f"many.{ranks}")
            samed.check(samed.run("segment", "-i", os.path.join(folder, "imagesTr"), "-o", out, *samed.weights(many), "--image-size", samed.SIZE,
                                  "--threads", 1, "--team", "all", "-q", ranks=ranks))
            found.append(samed.label_maps(out))
        self.assertEqual(found[0], found[1])
        with gzip.open(os.path.join(samed.path("many.3"), "c0_dseg.nii.gz"), "rb") as stream:
            header = stream.read(352)
        self.assertEqual(struct.unpack_from("<hh", header, 70), (512, 16))  # uint16


if __name__ == "__main__":
    unittest.main()
