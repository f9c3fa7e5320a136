"""What samed does without refusing, but says: headers and intensities that look wrong, results that will be replaced, names that are missing."""
import json
import os
import shutil
import struct
import unittest

import samed


class Doubts(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study(cases=3)
        self.out = samed.path(self.id())

    def images(self):
        """Two odd volumes beside a good one: no value below 0; and that with a spacing of 0."""
        images = samed.path(self.id() + ".images")
        os.makedirs(images)
        shutil.copy(os.path.join(self.folder, "imagesTr", "c0.nii.gz"), images)
        for name in ("mr", "odd"):
            samed.write_nifti(os.path.join(images, name + ".nii"), (16, 16, 3), payload=struct.pack("<768h", *range(768)))
        with open(os.path.join(images, "odd.nii"), "r+b") as stream:
            stream.seek(80)
            stream.write(struct.pack("<f", 0))  # pixdim[1]
        return images

    def test_suspicious_cases(self):
        images = self.images()
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                out = f"{self.out}.{ranks}"
                process = samed.check(samed.segment(self.folder, out, "--team", "all", "--json", images=images, ranks=ranks))
                self.assertEqual(process.stderr.count("no CT in HU"), 2, process.stderr)  # once per case, whatever the team
                self.assertEqual(process.stderr.count("pixdim[1] is 0"), 1, process.stderr)
                self.assertIn("2 cases of this run look suspicious", process.stderr)
                self.assertEqual(json.loads(process.stdout.splitlines()[-1])["suspicious"], 2)
                self.assertEqual(samed.read_json(out, "run.json")["suspicious_cases"], 2)
                self.assertTrue(any("pixdim" in text for text in samed.read_json(out, "odd_dseg.json")["suspicious"]))
                self.assertNotIn("suspicious", samed.read_json(out, "c0_dseg.json"))
        for options in (("--percentile", "1", "99"), ("--window", "0", "700")):
            process = samed.check(samed.segment(self.folder, samed.path(options[0]), *options, images=os.path.join(images, "mr.nii")))
            self.assertNotIn("no CT", process.stderr)

    def test_results_that_are_replaced(self):
        samed.check(samed.segment(self.folder, self.out, "-q"))
        process = samed.check(samed.segment(self.folder, self.out, "--window", "-100", "200", ranks=2))
        self.assertEqual(process.stderr.count("3 finished cases were here made with other options"), 1, process.stderr)
        process = samed.check(samed.segment(self.folder, self.out, "--window", "-100", "200"))
        self.assertNotIn("other options", process.stderr)
        os.remove(os.path.join(self.out, "c1_dseg.nii.gz"))  # damage is no other option
        process = samed.check(samed.segment(self.folder, self.out, "--window", "-100", "200"))
        self.assertNotIn("other options", process.stderr)

    def test_names_for_some_classes(self):
        names = samed.path("names.json")
        with open(names, "w", encoding="utf-8") as stream:
            json.dump({"labels": {"background": 0, "liver": 1}}, stream)
        process = samed.check(samed.segment(self.folder, self.out, "--labels", names, ranks=2))
        self.assertEqual(process.stderr.count("gives no name to"), 1, process.stderr)
        process = samed.check(samed.segment(self.folder, self.out + ".all"))
        self.assertNotIn("gives no name", process.stderr)

    def test_label_maps_among_the_images(self):
        images = samed.path(self.id() + ".images")
        os.makedirs(images)
        for name in ("c0.nii.gz", "c0_dseg.nii.gz"):
            shutil.copy(os.path.join(self.folder, "imagesTr", "c0.nii.gz"), os.path.join(images, name))
        process = samed.check(samed.segment(self.folder, self.out, images=images, ranks=2))
        self.assertEqual(process.stderr.count("1 label map (*_dseg)"), 1, process.stderr)
        self.assertEqual(list(samed.stamps(self.out)), ["c0_dseg.json"])
        samed.check(samed.segment(self.folder, self.out, images=os.path.join(images, "c0_dseg.nii.gz")))  # named: taken
        self.assertIn("c0_dseg_dseg.json", samed.stamps(self.out))

    def test_merged_twice(self):
        sam, adapter = samed.weights(self.folder)[1::2]
        merged = samed.path("merged.safetensors")
        samed.check(samed.run("convert", "-q", "--merge", adapter, sam, merged))
        arguments = ["segment", "-i", os.path.join(self.folder, "imagesTr"), "-o", self.out, "--image-size", samed.SIZE, "--threads", 1]
        for command in ([*arguments, "--sam", merged, "--adapter", adapter], [*arguments, "--sam", merged, "--adapter", adapter, "-n"],
                        ["convert", "--merge", adapter, merged, samed.path("twice.pth")]):
            self.assertIn("merged into it already", samed.check(samed.run(*command), 2).stderr)
        samed.check(samed.run(*arguments, "--sam", merged))
        plain = samed.path("plain")
        samed.check(samed.segment(self.folder, plain, "-q"))
        self.assertEqual(samed.label_maps(self.out), samed.label_maps(plain))
        self.assertTrue(json.loads(samed.check(samed.run("info", "--json", merged)).stdout)["merged"])
        self.assertFalse(json.loads(samed.check(samed.run("info", "--json", sam)).stdout)["merged"])


if __name__ == "__main__":
    unittest.main()
