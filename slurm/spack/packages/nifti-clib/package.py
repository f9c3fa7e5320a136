# Copyright the samed authors. SPDX-License-Identifier: Apache-2.0
from spack.package import *


class NiftiClib(CMakePackage):
    """The reference library for NIfTI-1 and NIfTI-2 files, which Spack's own packages lack."""

    homepage = "https://nifti-imaging.github.io"
    git = "https://github.com/NIFTI-Imaging/nifti_clib.git"

    version("3.0.1", tag="v3.0.1")

    depends_on("c", type="build")
    depends_on("cmake@3.10:", type="build")
    depends_on("zlib-api")

    def cmake_args(self):
        return [
            self.define("BUILD_SHARED_LIBS", True),
            self.define("USE_NIFTI2_CODE", True),
            self.define("BUILD_TESTING", False),
        ]
