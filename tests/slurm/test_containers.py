"""The ways to install samed for everybody, as far as no container, Spack or module system is needed; what is at hand is used."""
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import samed  # noqa: E402

SOURCE = os.environ["SAMED_SOURCE"]
SLURM = os.path.join(SOURCE, "slurm")
MODULECMD = ("/usr/lib/x86_64-linux-gnu/modulecmd.tcl", "/usr/share/modules/libexec/modulecmd.tcl", "/usr/share/Modules/libexec/modulecmd.tcl")


def read(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as stream:
        return stream.read()


def output(*command, **options):
    process = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, check=False, **options)
    return samed.check(process).stdout


def project_version():
    return re.findall(r"^project\(samed VERSION ([\d.]+)", read(SOURCE, "CMakeLists.txt"), re.M)[0]


def copies_of_dockerfile(text):
    """{(what, where to)} of the COPY lines that take something from the source tree."""
    found = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.M):
        *names, place = line.split()
        found |= {(name, place + name if place.endswith("/") else place) for name in names}
    return found


def sections(text):
    """The %sections of both stages of a definition, as lists of lines: {name: [of the first stage, of the second]}."""
    found = {}
    for title, body in re.findall(r"^%(.*)\n((?:(?:    .*)?\n)*)", text, re.M):
        found.setdefault(title, []).append([line.strip() for line in body.splitlines() if line.strip() and not line.strip().startswith("#")])
    return found


class Images(unittest.TestCase):
    def setUp(self):
        self.dockerfile = read(SLURM, "container", "Dockerfile").replace("\\\n", "")
        self.definition = read(SLURM, "container", "samed.def")
        self.sections = sections(self.definition)

    def test_both_copy_what_the_build_needs(self):
        copied = copies_of_dockerfile(self.dockerfile)
        self.assertEqual({tuple(line.split()) for line in self.sections["files"][0]}, copied)
        cmake = read(SOURCE, "CMakeLists.txt")
        needed = set(re.findall(r"^add_subdirectory\((\w+)\)", cmake, re.M)) | set(re.findall(r"^install\(FILES (.*) DESTINATION", cmake, re.M)[0].split())
        self.assertLessEqual(needed | {"CMakeLists.txt", "io", "jobs"}, {name for name, _ in copied})
        for name, place in copied:
            self.assertTrue(os.path.exists(os.path.join(SOURCE, name)), name)
            self.assertEqual(place, f"/src/{name}")

    def test_both_take_the_same_steps(self):
        runs = [re.split(r"\s*&&\s*", run.strip()) for run in re.findall(r"^RUN (.*)$", self.dockerfile, re.M)]
        build, install = self.sections["post"]
        self.assertEqual([step.replace('"$CUDA"', "{{ CUDA }}") for step in runs[0]], [line for line in build if line not in ("set -e", "cd /src")])
        self.assertEqual(runs[1], install)
        arguments = sorted(line for section in self.sections["arguments"] for line in section)
        self.assertEqual(arguments, sorted(re.findall(r"^ARG (.*)$", self.dockerfile, re.M)))
        settings = re.findall(r"^ENV (.*)$", self.dockerfile, re.M)[0].split()
        self.assertEqual([f"export {setting}" for setting in settings], self.sections["environment"][0])
        self.assertEqual(runs[2], self.sections["test"][0])
        labels = re.findall(r"^LABEL (.*)$", self.dockerfile, re.M)[0].split()
        self.assertEqual([label.replace("=", " ") for label in labels], self.sections["labels"][0])
        self.assertIn(f"org.opencontainers.image.version={project_version()}", labels)

    def test_check_of_an_image(self):
        """Two ranks make a label map; a program that makes none, without a word, is refused."""
        script, bare = os.path.join(SLURM, "container", "check.sh"), samed.path("bare")
        path = f"{os.path.dirname(samed.PROGRAM)}:{os.environ['PATH']}"
        self.assertRegex(output("sh", script, env=samed.environment(with_mpi=True, PATH=path)), "^samed [0-9.]+\n$")
        os.makedirs(bare)
        with open(os.path.join(bare, "samed"), "w", encoding="utf-8") as stream:
            stream.write("#!/bin/sh\n")
        os.chmod(os.path.join(bare, "samed"), 0o755)
        environment = samed.environment(with_mpi=True, PATH=f"{bare}:{os.environ['PATH']}")
        self.assertEqual(subprocess.run(["sh", script], env=environment, capture_output=True, timeout=60, check=False).returncode, 1)

    def test_packages_hold_all_libraries(self):
        """As in an image, for this build."""
        prefix = samed.path("installed")
        output("cmake", "--install", os.path.dirname(os.path.dirname(samed.PROGRAM)), "--prefix", prefix)
        program = os.path.join(prefix, "bin", "samed")
        libraries = {os.path.realpath(path) for path in re.findall(r"=> (/\S+)", output("ldd", program))}
        self.assertGreater(len(libraries), 10)
        if not shutil.which("dpkg") or any(not path.startswith("/usr/lib/") for path in libraries):
            self.skipTest("not built with the packages of Debian or Ubuntu")
        packages = output("sh", os.path.join(SLURM, "container", "packages.sh"), "list", prefix).split()
        held = {os.path.realpath(path) for path in output("dpkg", "-L", *packages).splitlines() if ".so" in path}
        self.assertEqual(libraries - held, set())
        self.assertIn("libopenmpi3", " ".join(packages))

    def test_library_of_no_package_is_refused(self):
        prefix = samed.path("strange")
        os.makedirs(os.path.join(prefix, "bin"))
        for name, text in (("samed", ""), ("ldd", "#!/bin/sh\necho \"libstrange.so.1 => $LIBRARY\"\n")):
            with open(os.path.join(prefix, "bin", name), "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(os.path.join(prefix, "bin", name), 0o755)
        for library, complaint in ((f"{prefix}/libstrange.so.1 (0x0)", "belongs to no package"), ("not found", "libraries of .* are missing")):
            process = subprocess.run(["sh", os.path.join(SLURM, "container", "packages.sh"), "list", prefix], capture_output=True, text=True, check=False,
                                     env={**os.environ, "PATH": f"{prefix}/bin:{os.environ['PATH']}", "LIBRARY": library})
            self.assertRegex(samed.check(process, 1).stderr, complaint)

    def test_hadolint(self):
        if not shutil.which("hadolint"):
            self.skipTest("hadolint is not installed")
        output("hadolint", os.path.join(SLURM, "container", "Dockerfile"))


class Packages(unittest.TestCase):
    def test_spack_recipes(self):
        """They are Python, and depend on what tests/setup.sh looks for, under Spack's names."""
        folder = os.path.join(SLURM, "spack", "packages")
        for name in os.listdir(folder):
            compile(read(folder, name, "package.py"), name, "exec")
        depends = set(re.findall(r'depends_on\("([\w-]+)', read(folder, "samed", "package.py")))
        virtual = {"gcc": "c", "openmpi": "mpi", "pkgconf": "pkgconfig"}
        rows = [line.split("|") for line in read(SOURCE, "tests", "setup.sh").splitlines() if line.count("|") == 5]
        wanted = {virtual.get(row[4], row[4]) for row in rows if row[1] == "build"} - {"-"}
        self.assertGreater(len(wanted), 10)
        self.assertEqual(depends, wanted | {"nifti-clib"})

    def test_modulefile(self):
        """With Environment Modules it puts the program on the path; with Tcl alone its syntax is looked at."""
        version = project_version()
        file = os.path.join(SLURM, "modulefiles", "samed", version)
        self.assertIn(f"set version {version}\n", read(file))
        if not shutil.which("tclsh"):
            self.skipTest("tclsh is not installed")
        script = f"set f [open {{{file}}}]; puts [info complete [read $f]]"
        self.assertEqual(output("tclsh", input=script), "1\n")
        modulecmd = next((path for path in MODULECMD if os.path.exists(path)), None)
        if not modulecmd:
            self.skipTest("Environment Modules are not installed")
        said = output("tclsh", modulecmd, "sh", "load", "samed", env={**os.environ, "MODULEPATH": os.path.join(SLURM, "modulefiles")})
        self.assertRegex(said, f"(^|[;\n ])PATH=/software/samed/{version}/bin:")
        self.assertIn(f"SAMED_ROOT=/software/samed/{version};", said)


if __name__ == "__main__":
    unittest.main()
