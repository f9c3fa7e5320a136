"""Every shipped script on a real cluster of two nodes: the same bytes as without Slurm."""
import os
import unittest

import cluster
import samed


class Scripts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = samed.study(cases=6)
        cls.reference = samed.path("reference")
        samed.check(samed.segment(cls.folder, cls.reference, "-q"))
        cls.maps = samed.label_maps(cls.reference)

    def out(self):
        return samed.path(self.id())

    def check_maps(self, out):
        self.assertEqual(samed.label_maps(out), self.maps)
        self.assertEqual(samed.leftovers(out), [])

    def test_segment_on_two_nodes(self):
        out = self.out()
        jobs = cluster.segment(cluster.site(), self.folder, out)
        log = jobs["segment"].end().log()
        self.assertIn("4 ranks on 2 hosts", log)
        self.check_maps(out)


if __name__ == "__main__":
    unittest.main()
