#!/usr/bin/env python3
"""The written law of the source tree, checked: who includes whom, how long things are, how they are called.

Usage: check_structure.py CHECK [ROOT]     CHECK is one of the functions named check_* below, without the prefix
       check_structure.py self-test        every check must object to a small tree made to break it

Prints one line for each breach as file:line: what, and how much was looked at. Ends with 0 (no breach), 1 (breaches, or nothing to look at)
or 2 (usage). Works on text: C is assumed to be formatted as .clang-format says (a function's braces stand alone in column 0).
"""
import os
import re
import sys
import tempfile

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 50

# The arrows: io <- model <- pipeline <- jobs; model/cpu and model/cuda are behind model/backend.h.
MAY_INCLUDE = {
    "io": {"io"},
    "model": {"io", "model"},
    "model/cpu": {"io", "model", "model/cpu"},
    "model/cuda": {"io", "model", "model/cuda"},
    "pipeline": {"io", "model", "pipeline"},
    "jobs": {"io", "model", "pipeline", "jobs"},
}
MAY_LINK = {"io": set(), "model": {"io"}, "pipeline": {"io", "model"}, "jobs": {"io", "model", "pipeline"}}
BACKEND_DOORS = {"model/device.c", "model/device_cuda.c"}  # the files outside a backend that may know it

# Foreign libraries, each in one room: (include pattern, word in CMakeLists.txt, room).
FOREIGN = [
    (r"mpi\.h", "MPI::", "jobs"),
    (r"argp\.h", None, "jobs"),
    (r"(dnnl|oneapi/).*|omp\.h", "DNNL_|OpenMP::", "model/cpu"),
    (r"cu(da|blas).*|mma\.h", "CUDA::", "model/cuda"),
    (r"(nifti|znz).*|nifti/.*", "NIFTI_|ZNZ_", "io"),
    (r"(isa-l|igzip_lib|crc).*", "::ISAL", "io"),
    (r"zstd.*", "::ZSTD", "io"),
    (r"(cjson/)?cJSON\.h", "::CJSON", "io"),
    (r"openssl/.*", "::CRYPTO", "io"),
    (r"png\.h|libpng.*", "::PNG", "io"),
    (r"Random123/.*", "RANDOM123_", "pipeline"),
    (r"cmocka\.h", "CMOCKA", "tests"),
]
BACKEND_WORDS = {"model/cpu": {"cpu", "onednn"}, "model/cuda": {"cuda", "cublas"}}
DIALECT = "model/cuda/cuk.h"  # the one file that may hold what follows
KERNEL_RULES = [
    (r"#\s*include\s*<(cuda_(?!runtime_api\.h)|mma|cooperative_groups|cub/|thrust/)", f"device headers come through {DIALECT} only"),
    (r"__shared__", "raw __shared__; use CUK_SHARED or CUK_DYN_SHARED"),
    (r"<<<", "raw launch; use CUK_LAUNCH"),
    (r"\b(asm|__asm__)\b", f"inline assembly belongs in {DIALECT}, with a twin in tests/cudahost"),
    (r"\batomic(?!(Min|Max)\b)[A-Z]\w*", "atomics but of integers' extremes depend on the order of threads; add in a fixed order"),
    (r"\b(CUDAHOST|__CUDA_ARCH__)\b", "a branch that the emulator or the device never takes"),
]
ALLOCATORS = {"model/cuda/memory_cuda.c", "model/cuda/relpos.c"}  # the second: tables of a network, made once when it is loaded
LAUNCH_CHECK = r"\bcuda_launch_check\s*\(|\bcudaGetLastError\s*\("
PREFIX = {"io": "io_", "model": "model_", "pipeline": "pipe_", "jobs": "job_"}
MPI_FILE, MPI_CALL = "jobs/comm.c", r"\b(P?MPIX?_[A-Z]\w*)\s*\("  # MPI is wrapped once
FORBIDDEN_BELOW_JOBS = r"\b(exit|_exit|abort|printf|puts|putchar|perror)\s*\("
FORBIDDEN_EVERYWHERE = r"\b(gets|strcpy(?!\(\w+, \))|strcat|sprintf|vsprintf|atoi|atol|atof)\s*\("  # strcpy of a literal is fine
SOURCE_ENDINGS = (".c", ".h", ".cu", ".cpp", ".py", ".sh", ".md", ".txt", ".json", ".cmake", ".sbatch", "run")


class Tree:
    """The files below a folder, without builds and what starts with a dot (but .ci)."""

    def __init__(self, root):
        self.root = root
        self.paths = []
        for folder, folders, names in os.walk(root):
            if folder == root:
                folders[:] = [f for f in folders if f == ".ci" or not (f.startswith(".") or f.startswith("build"))]
            folders.sort()
            self.paths += [os.path.relpath(os.path.join(folder, n), root) for n in sorted(names)]

    def lines(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
            return file.read().split("\n")

    def exists(self, path):
        return os.path.exists(os.path.join(self.root, path))

    def c_files(self, rooms=tuple(MAY_INCLUDE), endings=(".c", ".h")):
        return [p for p in self.paths if p.endswith(endings) and room_of(p) in rooms]


def room_of(path):
    parts = path.split("/")
    if parts[0] == "model" and len(parts) > 2:
        return "model/" + parts[1]
    return parts[0]


def code_of(line):
    """The line without string literals and comments that end on it."""
    return re.sub(r'"([^"\\]|\\.)*"|/\*.*?\*/|//.*', "", line)


def functions_of(lines):
    """(name, is_static or a kernel, first line, n_lines) of each function body; the signature may be broken over lines."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{" and start is None:
            start = number
        elif line == "}" and start is not None:
            signature = []
            for above in reversed(lines[: start - 1]):
                if not above.strip() or above.startswith(("#", "}", "/*", " *")) or above.rstrip().endswith((";", "*/")):
                    break
                signature.insert(0, above)
            text = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", " ".join(signature))
            text = re.sub(r"__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)", "", text)
            name = re.search(r"(\w+)\s*\(", text)
            if name:
                yield name.group(1), bool(re.match(r"\s*(template\s*<.*>\s*)?(static|__global__)\b", text)), start, number - start + 1
            start = None


def check_includes(tree):
    """Includes point along the arrows, are written from the root, and each foreign library is in one room."""
    files = tree.c_files(tuple(MAY_INCLUDE) + ("tests",), (".c", ".h", ".cu", ".cpp"))
    for path in files:
        for number, line in enumerate(tree.lines(path), 1):
            include = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if include:
                judge = judge_own_include if include.group(1) == '"' else judge_foreign_include
                yield from (f"{path}:{number}: {text}" for text in judge(tree, path, include.group(2)))
    return len(files)


def judge_own_include(tree, path, target):
    room, target_room = room_of(path), room_of(target)
    if room == "tests":
        if not target.startswith("tests/") and not tree.exists(target):
            yield f'"{target}" is not a file of this tree, written from the root'
        return
    if not tree.exists(target):
        yield f'"{target}" is not a file of this tree, written from the root'
    elif target_room not in MAY_INCLUDE[room] and not (path in BACKEND_DOORS and target_room.startswith("model/")):
        yield f'{room}/ may not include "{target}"'


def judge_foreign_include(tree, path, target):
    for pattern, _, home in FOREIGN:
        if re.fullmatch(pattern, target) and room_of(path) not in (home, "tests"):
            yield f"<{target}> belongs in {home}/ only"


def check_targets(tree):
    """The CMake targets repeat the arrows, and link each foreign library in its room only."""
    seen = 0
    for room, allowed in MAY_LINK.items():
        path = f"{room}/CMakeLists.txt"
        text = re.sub(r"#.*", "", "\n".join(tree.lines(path)))
        seen += 1
        links = set(re.findall(r"[\w:$.-]+", " ".join(re.findall(r"target_link_libraries\(([^)]*)\)", text))))
        for other in set(MAY_LINK) & links - allowed - {room}:
            yield f"{path}:1: links {other}, which the arrows do not allow"
        for _, word, home in FOREIGN:
            if word and home.split("/")[0] != room and re.search(word, text):
                yield f"{path}:1: uses {word}, which belongs in {home}/"
    return seen


def check_sizes(tree):
    """Files and functions stay short enough to be read in one go."""
    files = [p for p in tree.paths if p.endswith((".c", ".h", ".cu", ".cpp", ".py", ".sh"))]
    for path in files:
        lines = tree.lines(path)
        if len(lines) - 1 > MAX_FILE_LINES:
            yield f"{path}:1: {len(lines) - 1} lines, at most {MAX_FILE_LINES}"
        if path.endswith((".c", ".cu", ".cpp")):
            for name, _, start, length in functions_of(lines):
                if length > MAX_FUNCTION_LINES:
                    yield f"{path}:{start}: {name}() has {length} lines, at most {MAX_FUNCTION_LINES}"
    return len(files)


def check_names(tree):
    """Public functions carry the prefix of their room, static ones do not; types have no _t."""
    files = tree.c_files(endings=(".c", ".cu"))
    for path in files:
        room = room_of(path)
        prefix = PREFIX[room.split("/")[0]]
        for name, is_static, start, _ in functions_of(tree.lines(path)):
            if is_static and name.startswith(tuple(PREFIX.values())):
                yield f"{path}:{start}: static {name}() has the prefix of a public function"
            elif not is_static and name != "main" and not name.startswith(prefix) and not is_backend_name(room, name):
                yield f"{path}:{start}: public {name}() lacks the prefix {prefix}"
    for path in tree.c_files():
        for number, line in enumerate(tree.lines(path), 1):
            if re.match(r"(typedef\b.*\b|}\s*)\w+_t;", line):
                yield f"{path}:{number}: a type's name ends in _t"
    return len(files)


def is_backend_name(room, name):
    """Inside a backend, functions are called after the operation and the backend: layernorm_forward_cpu, onednn_product."""
    return bool(BACKEND_WORDS.get(room, set()) & set(name.split("_")))


def check_calls(tree):
    """Below jobs/ nothing ends the process or prints; one file calls MPI; nowhere the C calls that cannot be used safely."""
    files = tree.c_files(endings=(".c", ".h", ".cu"))
    for path in files:
        for number, line in enumerate(tree.lines(path), 1):
            code = code_of(line)
            patterns = [FORBIDDEN_EVERYWHERE] + ([FORBIDDEN_BELOW_JOBS] if room_of(path) != "jobs" else [])
            for pattern in patterns + ([MPI_CALL] if path != MPI_FILE else []):
                call = re.search(pattern, code)
                if call and not code.lstrip().startswith("*"):
                    yield f"{path}:{number}: {call.group(1)}() is not used here"
    return len(files)


def check_kernels(tree):
    """Kernels are written in the dialect of cuk.h, so that all of them also run on the emulator; sums have an order of their own."""
    files = [p for p in tree.c_files(("model/cuda",), (".cu", ".h")) if p != DIALECT]
    for path in files:
        for number, line in enumerate(tree.lines(path), 1):
            code = code_of(line)
            for pattern, what in KERNEL_RULES:
                if re.search(pattern, code) and not code.lstrip().startswith("*"):
                    yield f"{path}:{number}: {what}"
    return len(files)


def check_launches(tree):
    """Each launch is followed by a look at its error, in its function or in all that call it; device memory is not taken in passing."""
    files = tree.c_files(("model/cuda",), (".cu", ".c"))
    for path in files:
        lines = tree.lines(path)
        yield from (f"{path}:{start}: {name}() launches a kernel and does not look at its error" for name, start in find_unchecked(lines))
        for number, line in enumerate(lines, 1):
            if not re.search(r"\bcudaMalloc(Async|Managed|Pitch|3D)?\s*\(", code_of(line)):
                continue
            if path not in ALLOCATORS:
                yield f"{path}:{number}: device memory is taken in {' and '.join(sorted(ALLOCATORS))} only"
            elif len(line) - len(line.lstrip()) != 4:
                yield f"{path}:{number}: device memory taken in a loop or a branch"
    return len(files)


def find_unchecked(lines):
    """(name, first line) of the functions, visible outside the file, after whose last launch no look at the error follows."""
    bodies = [(name, is_static, start, "\n".join(map(code_of, lines[start - 1 : start - 1 + n])))
              for name, is_static, start, n in functions_of(lines)]
    unchecked = set()
    while True:
        launch = r"\b(CUK_LAUNCH|" + "|".join(sorted(unchecked) or ["CUK_LAUNCH"]) + r")\b"
        found = set()
        for name, _, _, body in bodies:
            at = max((m.start() for m in re.finditer(launch, body)), default=None)
            if at is not None and not re.search(LAUNCH_CHECK, body[at:]):
                found.add(name)
        if found <= unchecked:
            return [(name, start) for name, is_static, start, _ in bodies if name in unchecked and not is_static]
        unchecked |= found


def check_words(tree):
    """Nothing is left for later, and no path of somebody's machine."""
    own = os.path.join("tests", "structure")
    files = [p for p in tree.paths if p.endswith(SOURCE_ENDINGS) and not p.startswith(own)]
    for path in files:
        for number, line in enumerate(tree.lines(path), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                yield f"{path}:{number}: left for later; do it, or delete it"
            if re.search(r"(^|[^\w.}])/(work|home|root|Users|scratch)/\w", line):
                yield f"{path}:{number}: a path of one machine"
    return len(files)


def check_tests(tree):
    """Every test file is known to ctest: by the glob of tests/CMakeLists.txt, or by name in the CMakeLists.txt of its folder."""
    files = [p for p in tree.paths if re.fullmatch(r"tests/.*/test_\w+\.(c|sh|py)", p)]
    globbed = re.search(r"foreach\(room ([\w ]+)\)", "\n".join(tree.lines("tests/CMakeLists.txt"))).group(1).split()
    for path in files:
        folder, name = os.path.split(path)
        if folder in [f"tests/{room}" for room in globbed] and name.endswith(".c"):
            continue
        listing = f"{folder}/CMakeLists.txt"
        text = "\n".join(tree.lines(listing)) if tree.exists(listing) else ""
        stem, ending = os.path.splitext(name)
        words = {name, stem, stem[len("test_"):], f"test_*{ending}"}
        if not words & set(re.findall(r"[\w.*]+", text)):
            yield f"{path}:1: {listing} does not name it, so it never runs"
    return len(files)


def check_rooms(tree):
    """Each room says in a README.md what lives there, what may be touched and how it is tested."""
    for room in ("io", "model", "pipeline", "jobs", "tests"):
        if not tree.exists(f"{room}/README.md"):
            yield f"{room}/README.md:1: is missing"
    return len(PREFIX) + 1


CHECKS = {name[len("check_"):]: function for name, function in list(globals().items()) if name.startswith("check_")}


def run_check(name, root):
    """Returns the breaches as lines; a check that looked at nothing is one."""
    breaches = []
    walk = CHECKS[name](Tree(root))
    while True:
        try:
            breaches.append(next(walk))
        except StopIteration as stop:
            return breaches + ([] if stop.value else ["nothing was looked at"]), stop.value


LAUNCHES = """template <class T> static void launch(int n)
{
    CUK_LAUNCH(kernel<T>, n, 32, 0, stream);
}

io_status a_forward_cuda(int n)
{
    launch<float>(n);
    return cuda_launch_check(backend, "a");
}
"""


def self_test():
    """Each check must be silent on a small good tree and object to exactly what is broken in it."""
    good = {f"{room}/CMakeLists.txt": "" for room in MAY_LINK}
    good.update({f"{room}/README.md": "" for room in list(MAY_LINK) + ["tests"]})
    good["tests/CMakeLists.txt"] = "foreach(room io model)\n"
    good.update({DIALECT: "__shared__", "model/cuda/a.cu": LAUNCHES, "model/cuda/memory_cuda.c": "    cudaMalloc(a, n);\n"})
    good.update({"io/a.h": "", "model/device.c": '#include "model/cpu/b.h"\n', "model/cpu/b.h": "", "jobs/x.h": "",
                 "io/a.c": '#include "io/a.h"\n\nint io_a_get(void)\n{\n    return 0;\n}\n', "tests/io/test_a.c": "int main;\n"})
    bad = [
        ("includes", "io/b.c", '#include "jobs/x.h"\n'),
        ("includes", "pipeline/b.c", '#include "model/cpu/b.h"\n'),
        ("includes", "io/b.c", '#include "a.h"\n'),
        ("includes", "pipeline/b.c", "#include <mpi.h>\n"),
        ("includes", "model/b.c", "#include <oneapi/dnnl/dnnl.h>\n"),
        ("targets", "io/CMakeLists.txt", "target_link_libraries(io PRIVATE model)\n"),
        ("targets", "pipeline/CMakeLists.txt", "target_link_libraries(pipeline PUBLIC model PRIVATE MPI::MPI_C)\n"),
        ("sizes", "io/b.h", "\n" * (MAX_FILE_LINES + 1)),
        ("sizes", "io/b.c", "int io_b(void)\n{\n" + "    ;\n" * MAX_FUNCTION_LINES + "}\n"),
        ("names", "io/b.c", "int get_b(int a,\n          int b)\n{\n}\n"),
        ("names", "io/b.c", "static int io_b(void)\n{\n}\n"),
        ("names", "model/cpu/b.c", "int layernorm_forward(void)\n{\n}\n"),
        ("names", "model/cuda/b.cu", 'extern "C" int b_launch(int a)\n{\n}\n'),
        ("calls", "model/cuda/b.cu", "    printf(a);\n"),
        ("names", "io/b.h", "typedef struct io_b {\n    int c;\n} io_b_t;\n"),
        ("calls", "pipeline/b.c", "    exit(1);\n"),
        ("calls", "jobs/b.c", "    sprintf(a, b);\n"),
        ("calls", "jobs/b.c", "    MPI_Send(a, 1, MPI_BYTE, 0, 0, c);\n"),
        ("calls", "jobs/b.c", '    strcpy(a, b);\n    strcpy(a, "b");\n'),
        ("kernels", "model/cuda/b.cu", "#include <mma.h>\n"),
        ("kernels", "model/cuda/b.cu", "    __shared__ float s[32];\n"),
        ("kernels", "model/cuda/b.cu", "    kernel<<<1, 32>>>(x);\n"),
        ("kernels", "model/cuda/b.h", "    asm volatile(\"\");\n"),
        ("kernels", "model/cuda/b.cu", "    atomicAdd(sum, x);\n"),
        ("kernels", "model/cuda/b.cu", "#ifdef CUDAHOST\n"),
        ("kernels", "model/cuda/b.cu", "    atomicCAS(sum, x, y);\n"),
        ("launches", "model/cuda/b.cu", LAUNCHES.replace("cuda_launch_check", "cuda_stream_check")),
        ("launches", "model/cuda/b.c", "    cudaMalloc(a, n);\n"),
        ("launches", "model/cuda/memory_cuda.c", "        cudaMalloc(a, n);\n"),
        ("words", "io/b.c", "/* TO" + "DO: later */\n"),
        ("words", "tests/b.sh", "cd /ho" + "me/somebody\n"),
        ("tests", "tests/cli/test_b.sh", ""),
        ("tests", "tests/jobs/test_b.c", ""),
        ("rooms", "io/README.md", None),
    ]
    failed = 0
    for name, path, text in [(name, None, None) for name in CHECKS] + bad:
        with tempfile.TemporaryDirectory() as root:
            files = {where: content for where, content in {**good, path: text}.items() if content is not None}
            for where, content in files.items():
                os.makedirs(os.path.dirname(os.path.join(root, where)), exist_ok=True)
                with open(os.path.join(root, where), "w", encoding="utf-8") as file:
                    file.write(content)
            breaches, _ = run_check(name, root)
        if len(breaches) != (1 if path else 0) or (path and not breaches[0].startswith(path)):
            failed += 1
            print(f"self-test: {name} on {path or 'the good tree'}: {breaches or 'no objection'}")
    print(f"self-test: {len(bad)} broken trees, {len(CHECKS)} checks, {failed} wrong")
    return 1 if failed else 0


def main(arguments):
    if arguments == ["self-test"]:
        return self_test()
    if len(arguments) not in (1, 2) or arguments[0] not in CHECKS:
        print(__doc__, file=sys.stderr)
        return 2
    breaches, seen = run_check(arguments[0], arguments[1] if len(arguments) == 2 else os.getcwd())
    print("\n".join(breaches + [f"{arguments[0]}: {seen} files, {len(breaches)} breaches"]))
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
