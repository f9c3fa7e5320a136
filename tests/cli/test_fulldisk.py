"""A full disk ends the run and leaves nothing half written. Ends with 77, a visible skip, where user namespaces are not allowed."""
import os
import subprocess
import sys
import unittest

import samed

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


class FullDisk(unittest.TestCase):
    def test_run_error_and_nothing_half_written(self):
        """In a small file system of its own (a user namespace, so that it needs no root)."""
        folder, disk = samed.study(), samed.path("disk")
        os.makedirs(disk)
        inside = f"mount -t tmpfs -o size=36k tmpfs {disk} || exit 99; \"$@\"; code=$?; ls -A {disk}/out; exit $code"
        command = [*NAMESPACE, "sh", "-c", inside, "sh"]
        process = subprocess.run(command + samed.command(samed.segment_arguments(folder, os.path.join(disk, "out")), 0),
                                 env=samed.environment(with_mpi=True), capture_output=True, text=True, timeout=120, check=False)
        samed.check(process, 1)
        self.assertEqual(process.stderr.count("the disk is full"), 1, process.stderr)
        names = process.stdout.split()
        self.assertFalse([name for name in names if name.endswith(".tmp")], names)
        self.assertNotIn("done", names)

    def test_scratch_without_room(self):
        """Inputs are read from where they are, which is said once; label maps, which are small, still go through it, or, when there is no room
        for anything, straight to their place."""
        folder, plain = samed.study(), samed.path("small.plain")
        samed.check(samed.segment(folder, plain, "-q"))
        for fill, n_written in (("true", 0), ("head -c 8192 /dev/zero > {}/full", 1)):
            with self.subTest(fill=fill):
                disk, out = samed.path(f"small.{n_written}"), samed.path(f"small.out.{n_written}")
                os.makedirs(disk)
                inside = (f"mount -t tmpfs -o size=8k tmpfs {disk} || exit 99; {fill.format(disk)}; \"$@\"; code=$?; rm -f {disk}/full; "
                          f"ls -A {disk}; exit $code")
                command = [*NAMESPACE, "sh", "-c", inside, "sh"]
                process = subprocess.run(command + samed.command(samed.segment_arguments(folder, out, "--scratch", disk), 0),
                                         env=samed.environment(with_mpi=True), capture_output=True, text=True, timeout=120, check=False)
                samed.check(process)
                self.assertEqual(process.stderr.count("cases are read from where they are"), 1, process.stderr)
                self.assertEqual(process.stderr.count("cases are written where they belong"), n_written, process.stderr)
                self.assertEqual(process.stdout, "")
                self.assertEqual(samed.label_maps(out), samed.label_maps(plain))
                self.assertEqual(samed.leftovers(out), [])

    def test_scratch_that_cannot_be_written(self):
        folder, plain, disk, out = samed.study(), samed.path("readonly.plain"), samed.path("readonly"), samed.path("readonly.out")
        samed.check(samed.segment(folder, plain, "-q"))
        os.makedirs(disk)
        inside = f"mount -t tmpfs -o size=1m tmpfs {disk} && mount -o remount,ro {disk} || exit 99; \"$@\""
        process = subprocess.run([*NAMESPACE, "sh", "-c", inside, "sh", *samed.command(samed.segment_arguments(folder, out, "--scratch", disk), 0)],
                                 env=samed.environment(with_mpi=True), capture_output=True, text=True, timeout=120, check=False)
        samed.check(process)
        self.assertEqual(process.stderr.count("this rank goes on without it"), 1, process.stderr)
        self.assertEqual(samed.label_maps(out), samed.label_maps(plain))


if __name__ == "__main__":
    with_mount = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", samed.WORK], capture_output=True, check=False)
    if with_mount.returncode != 0:
        print("skipped: no user namespace with mounts here")
        sys.exit(77)
    unittest.main()
