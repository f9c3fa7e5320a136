"""info, convert, phantom, bench: without MPI, and quickly."""
import json
import os
import sys
import time
import unittest

import samed


class Choices(unittest.TestCase):
    def test_a_wrong_choice_names_the_right_ones(self):
        segment, evaluate = ("segment", "-i", "a", "-o", "b", "--sam", "s"), ("evaluate", "-p", "a", "-r", "b", "-o", "c")
        maps = "expected btcv, totalsegmentator, totalsegmentator_mr or a JSON file, found 'foo', which is no file"
        for arguments, text in (
                ((*segment, "--team", "foo"), "--team: expected a number of ranks, all or auto, found 'foo'"),
                ((*segment, "--team", ""), "--team: expected a number of ranks, all or auto, found ''"),
                ((*segment, "--team", "0"), "--team: expected a whole number from 1 to "),
                ((*segment, "--preset", "foo"), "--preset: expected samed or direct, found 'foo'"),
                ((*segment, "--device", "foo"), "--device: expected auto, cpu or cuda, found 'foo'"),
                ((*evaluate, "--convention", "medpy,foo"), "--convention: expected medpy, monai, reloaded, deepmind, samed or all, found 'foo'"),
                ((*evaluate, "--convention", ","), "--convention: expected medpy, monai, reloaded, deepmind, samed or all, found ','"),
                ((*evaluate, "--empty", "foo/hd95:missed=1"), "--empty: expected the convention medpy, monai, reloaded, deepmind or samed, found 'foo'"),
                ((*evaluate, "--map", "foo"), maps),
                ((*evaluate, "--map", "reference=foo"), maps),
                ((*evaluate, "--map", "foo=btcv"), "--map: expected prediction= or reference= before a map, found 'foo=btcv'"),
                (("bench", "--vit", "foo"), "expected vit_b, vit_l, vit_h, small or tiny")):
            with self.subTest(arguments=arguments[-2:]):
                self.assertIn(text, samed.check(samed.run(*arguments), 2).stderr)

    def test_ratio_is_told_of(self):
        self.assertIn("ratio is samed's best divided by it", " ".join(samed.check(samed.run("bench", "--help")).stdout.split()))


class Info(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study()
        self.image = os.path.join(self.folder, "imagesTr", "c0.nii.gz")

    def describe(self, *arguments, code=0):
        return [json.loads(line) for line in samed.check(samed.run("info", "--json", *arguments), code).stdout.splitlines()]

    def test_nifti(self):
        image = self.describe(self.image)[0]
        self.assertEqual((image["kind"], image["dims"], image["datatype"], image["orientation"]), ("nifti", [30, 26, 7], "int16", "RAS"))
        self.assertNotIn("min", image)

    def test_weights(self):
        sam = self.describe(os.path.join(self.folder, "sam_tiny.pth"))[0]
        self.assertEqual((sam["kind"], sam["blocks"], sam["width"], sam["window"]), ("sam", 2, 32, 3))
        self.assertEqual(sam["sha256"], samed.digest(os.path.join(self.folder, "sam_tiny.pth")))
        adapter = self.describe(os.path.join(self.folder, "samed_tiny.pth"))[0]
        self.assertEqual((adapter["kind"], adapter["lora_rank"], adapter["classes_with_background"]), ("adapter", 4, 9))

    def test_folder_in_words(self):
        words = samed.check(samed.run("info", self.folder, os.path.join(self.folder, "imagesTr"))).stdout
        self.assertIn("sam_tiny.pth: SAM", words)
        self.assertIn("c4.nii.gz: NIfTI-1", words)

    def test_check(self):
        images = os.path.join(self.folder, "imagesTr")
        self.assertTrue(all(entry["checked"] for entry in self.describe("--check", images)))
        bad = samed.path("info.bad")
        os.makedirs(bad)
        with open(self.image, "rb") as stream:
            content = stream.read()
        with open(os.path.join(bad, "cut.nii.gz"), "wb") as stream:
            stream.write(content[:-100])
        with open(os.path.join(bad, "sam.pth"), "wb") as stream:
            with open(os.path.join(self.folder, "sam_tiny.pth"), "rb") as source:
                stream.write(source.read()[:-1000])
        samed.write_nifti(os.path.join(bad, "nan.nii"), (2, 2, 2), datatype=16, bits=32, payload=bytes(28) + b"\x00\x00\xc0\x7f")
        found = {os.path.basename(entry["path"]): entry.get("refused") for entry in self.describe("--check", images, bad, code=3)}
        self.assertEqual((found["cut.nii.gz"], found["nan.nii"]), ("truncated", "range"))
        self.assertTrue(found["sam.pth"])
        self.assertIsNone(found["c0.nii.gz"])
        self.assertIn("8 files, 3 would be refused", samed.check(samed.run("info", "--check", images, bad), 3).stdout)

    def test_folder_holds_what_segment_would_take(self):
        """Hidden files and folders are no cases, and a pair is one."""
        folder = samed.path("info.folder")
        os.makedirs(os.path.join(folder, "subfolder.nii"))
        for name in ("._scan.nii.gz", ".hidden.pth"):
            with open(os.path.join(folder, name), "wb") as stream:
                stream.write(b"Mac OS X")
        samed.write_nifti(os.path.join(folder, "scan.nii"), (2, 2, 2), payload=bytes(16))
        for name in ("pair.hdr", "pair.img"):
            samed.write_nifti(os.path.join(folder, name), (2, 2, 2), magic=b"ni1\0", payload=bytes(16))
        self.assertEqual([os.path.basename(entry["path"]) for entry in self.describe("--check", folder)], ["pair.hdr", "scan.nii"])
        os.mkfifo(os.path.join(folder, "queue.nii.gz"))
        os.symlink("../annex/gone", os.path.join(folder, "unfetched.nii.gz"))
        found = {os.path.basename(entry["path"]): entry.get("refused") for entry in self.describe("--check", folder, code=3)}
        self.assertEqual(found, {"pair.hdr": None, "scan.nii": None, "queue.nii.gz": "file", "unfetched.nii.gz": "not_found"})

    def test_missing_file(self):
        self.assertEqual(self.describe("/nowhere.nii", code=3)[0]["refused"], "not_found")


class Convert(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study()
        self.sam, self.adapter = samed.weights(self.folder)[1::2]

    def test_there_and_back_segments_the_same(self):
        there, back = samed.path("sam.safetensors"), samed.path("back.pth")
        samed.check(samed.run("convert", "-q", self.sam, there))
        samed.check(samed.run("convert", "-q", there, back))
        images, first, second = os.path.join(self.folder, "imagesTr"), samed.path("convert.1"), samed.path("convert.2")
        samed.check(samed.segment(self.folder, first, "-q"))
        options = ["--adapter", self.adapter, "--image-size", samed.SIZE, "--threads", 1, "-q"]
        for weights in (there, back):
            samed.check(samed.run("segment", "-i", images, "-o", second, "--sam", weights, *options, "--overwrite"))
            self.assertEqual(samed.label_maps(first), samed.label_maps(second))

    def test_merged_network_segments_like_its_parts(self):
        merged = samed.path("merged.safetensors")
        samed.check(samed.run("convert", "-q", "--merge", self.adapter, self.sam, merged))
        first, second = samed.path("merge.1"), samed.path("merge.2")
        samed.check(samed.segment(self.folder, first, "-q"))
        samed.check(samed.run("segment", "-i", os.path.join(self.folder, "imagesTr"), "-o", second, "--sam", merged, "--image-size", samed.SIZE,
                              "--threads", 1, "-q"))
        self.assertEqual(list(samed.label_maps(first).values()), list(samed.label_maps(second).values()))

    def test_refusals(self):
        samed.check(samed.run("convert", self.sam, samed.path("weights.zip")), 2)
        samed.check(samed.run("convert", "/nowhere.pth", samed.path("x.pth")), 2)
        existing = samed.path("existing.pth")
        samed.check(samed.run("convert", "-q", self.adapter, existing))
        samed.check(samed.run("convert", self.sam, existing), 2)
        samed.check(samed.run("convert", "-q", "--overwrite", self.sam, existing))


class Phantom(unittest.TestCase):
    def make(self, name, *options, ranks=0):
        folder = samed.path(name)
        samed.check(samed.run("phantom", "-q", "-o", folder, "--size", 40, 32, 6, *options, ranks=ranks))
        return folder

    @staticmethod
    def digests(folder):
        return {os.path.relpath(os.path.join(at, name), folder): samed.digest(os.path.join(at, name))
                for at, _, names in os.walk(folder) for name in names}

    def test_study_as_nnunet_names_it(self):
        folder = self.make("p1", "--cases", 3, "--seed", 5)
        self.assertEqual(sorted(os.listdir(os.path.join(folder, "imagesTr"))), [f"case_000{i}_0000.nii.gz" for i in range(3)])
        self.assertEqual(sorted(os.listdir(os.path.join(folder, "labelsTr"))), [f"case_000{i}.nii.gz" for i in range(3)])
        dataset = samed.read_json(folder, "dataset.json")
        self.assertEqual((dataset["numTraining"], dataset["file_ending"], dataset["labels"]["background"]), (3, ".nii.gz", 0))
        self.assertEqual(len(dataset["labels"]), 9)

    def test_same_seed_same_bytes_on_any_ranks(self):
        first = self.digests(self.make("p2", "--cases", 3, "--seed", 5))
        self.assertEqual(first, self.digests(self.make("p3", "--cases", 3, "--seed", 5)))
        self.assertEqual(first, self.digests(self.make("p4", "--cases", 3, "--seed", 5, ranks=2)))
        other = self.digests(self.make("p5", "--cases", 3, "--seed", 6))
        self.assertTrue(all(first[name] != other[name] for name in first if name.startswith("imagesTr")))

    def test_refusals(self):
        samed.check(samed.run("phantom", "-o", samed.path("p6"), "--size", 0, 3, 3), 2)
        samed.check(samed.run("phantom", "-o", samed.path("p6"), "--noise", "-5"), 2)
        samed.check(samed.run("phantom", "-o", samed.path("p6"), "--weights", "vit_x", "--cases", 0), 2)


class Bench(unittest.TestCase):
    def test_figures(self):
        found = json.loads(samed.check(samed.run("bench", "--vit", "tiny", "--image-size", 64, "--threads", 1, "--repeats", 3, "--json")).stdout)
        seconds = found["seconds_per_slice"]
        self.assertTrue(0 < seconds["best"] <= seconds["median"])
        self.assertGreater(found["peak_gflops"], 0)
        self.assertGreater(found["peak_memory_mb"], 0)
        self.assertTrue(found["operations"])
        self.assertTrue(all(entry["seconds_per_slice"] >= 0 for entry in found["operations"]))

    def test_words(self):
        self.assertIn("seconds per slice", samed.check(samed.run("bench", "--vit", "tiny", "--image-size", 64, "--threads", 1, "--repeats", 2)).stdout)

    def test_training(self):
        """The phases, each once, fill the step; what is summed is what SAMed trains (tiny network, decoder in full) in 8 bytes a number."""
        step = ("bench", "--train", "--vit", "tiny", "--image-size", 64, "--threads", 1, "--repeats", 2)
        found = json.loads(samed.check(samed.run(*step, "--batch", 2, "--json")).stdout)
        self.assertTrue(0 < found["seconds_per_image"]["best"] <= found["seconds_per_image"]["median"])
        self.assertEqual(sorted(phase["name"] for phase in found["phases"]),
                         ["decoder backward", "decoder forward", "encoder backward", "encoder forward", "exact sums", "loss", "update"])
        self.assertAlmostEqual(sum(phase["share"] for phase in found["phases"]), 1, places=6)
        self.assertGreater(found["summed_bytes_per_step"], 0)
        again = json.loads(samed.check(samed.run(*step, "--recompute", "--json")).stdout)
        self.assertLess(again["kept_bytes_per_slice"], found["kept_bytes_per_slice"])
        self.assertEqual(again["summed_bytes_per_step"], found["summed_bytes_per_step"])
        self.assertIn("encoder backward", samed.check(samed.run(*step)).stdout)
        samed.check(samed.run("bench", "--recompute"), 2)

    def test_bench_train_beside_a_peer(self):
        script, turns = samed.path("peer.py"), samed.path("peer.turns")
        with open(script, "w", encoding="utf-8") as stream:
            stream.write("import json, sys\nprint('ready', flush=True)\nfor i, line in enumerate(sys.stdin):\n"
                         "    print(json.dumps({'seconds': [2.0 + i]}), flush=True)\n    open(sys.argv[1], 'a').write(line)\n")
        step = ("bench", "--train", "--vit", "tiny", "--image-size", 64, "--threads", 1, "--repeats", 3, "--peer")
        peer = f"{sys.executable} {script} {turns}"
        found = json.loads(samed.check(samed.run(*step, peer, "--json")).stdout)
        self.assertEqual(found["peer_seconds_per_image"], 2)
        self.assertAlmostEqual(found["ratio"], found["seconds_per_image"]["best"] / 2)
        with open(turns, encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "1\n" * 3)
        self.assertIn("the peer, in turns: best 2.0000, median 3.0000; samed takes 0.", samed.check(samed.run(*step, peer)).stdout)
        self.assertIn("--peer: the command ended without an answer", samed.check(samed.run(*step, "true"), 2).stderr)
        for answer in ("{}", '{"seconds": [1, 2]}', '{"seconds": ["x"]}', '{"seconds": [0]}'):
            process = samed.check(samed.run(*step, f"""sh -c 'echo ready; read line; echo "$1"' - '{answer}'"""), 2)
            self.assertIn('--peer: expected {"seconds": [one number]}, found', process.stderr)
        samed.check(samed.run("bench", "--peer", "true"), 2)


class Speed(unittest.TestCase):
    def test_commands_start_at_once(self):
        """--version and info do not wait for MPI; best of five, since others may use the machine."""
        image = os.path.join(samed.study(), "imagesTr", "c0.nii.gz")
        for arguments in (("--version",), ("info", image)):
            times = []
            for _ in range(5):
                start = time.perf_counter()
                samed.check(samed.run(*arguments))
                times.append(time.perf_counter() - start)
            self.assertLess(min(times), 0.5, arguments)


if __name__ == "__main__":
    unittest.main()
