# Copyright the samed authors. SPDX-License-Identifier: Apache-2.0
"""spack repo add slurm/spack && spack install samed      (in the root of a clone; the commit that is checked out is built)"""
import os

from spack.package import *


class Samed(CMakePackage):
    """Segments cohorts of medical volumes with SAM and SAMed's adapter, on any number of MPI ranks."""

    # This file lies in the tree that it builds.
    git = "file://" + os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", ".."))

    license("Apache-2.0")

    version("main", branch="main")

    depends_on("c", type="build")
    depends_on("cmake@3.22:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi@3:")
    depends_on("onednn@2.6:3")
    depends_on("isa-l@2.30:")
    depends_on("zstd@1.5:")
    depends_on("cjson")
    depends_on("openssl@3:")
    depends_on("libpng@1.6:")
    depends_on("nifti-clib@3:")
    depends_on("random123", type="build")

    generator("ninja")

    def cmake_args(self):
        return [self.define("BUILD_TESTING", False)]

    @run_after("install")
    def check_install(self):
        """samed --version needs no rank and no weights."""
        Executable(self.prefix.bin.samed)("--version")
