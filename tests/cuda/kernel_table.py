#!/usr/bin/env python3
"""What nvcc made of each kernel, for model/cuda/kernels.tsv: registers, shared memory, spills, occupancy, wide accesses, tensor cores.

Usage: kernel_table.py TABLE NVCC OBJECT...            ends with 1 where TABLE says otherwise, or a kernel lacks what it must have
       kernel_table.py --write TABLE NVCC OBJECT...    writes TABLE

OBJECTs are those of the plug-in, built for all architectures. Needs cuobjdump and nvdisasm, of the CUDA toolkit or of PyPI's
nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm, beside nvcc, on the PATH or in the folder $CUDA_TOOLS. Ends with 77 (skipped) without them,
and where nvcc's version is not the table's: other compilers make other choices.

Numbers of instructions are those in the code, not those that run. Occupancy is what registers, shared memory, threads and blocks allow;
dynamic shared memory, which only attention has, is that of windows of 14 (16 lanes) and of slices of 32 x 32 (32 lanes).
"""
import os
import re
import shutil
import subprocess
import sys

# Of a multiprocessor: registers, bytes of shared memory, warps, blocks (CUDA C++ Programming Guide, "Technical Specifications per Compute
# Capability"). A block takes 1 KB of shared memory for the system, and registers come 256 to a warp at a time.
LIMITS = {"sm_80": (65536, 164 << 10, 64, 32), "sm_90": (65536, 228 << 10, 64, 32), "sm_100": (65536, 228 << 10, 64, 32),
          "sm_120": (65536, 100 << 10, 48, 24)}
SYSTEM_BYTES = 1024
MOST_THREADS = 1024  # of a kernel that does not say

# Column: what an instruction must look like.
COUNTS = {"ld128": r"LDG\.\S*128\b", "ld64": r"LDG\.\S*64\b", "ld": r"LDG\b", "st128": r"STG\.\S*128\b", "st64": r"STG\.\S*64\b", "st": r"STG\b",
          "copy128": r"LDGSTS\.\S*128\b", "ldmatrix": r"LDSM\b", "bf16": r"HMMA\.16816\S*BF16", "tf32": r"HMMA\.1688\S*TF32",
          "spill_ld": r"LDL\b", "spill_st": r"STL\b"}
COLUMNS = ["kernel", "architecture", "threads", "registers", "shared", "dynamic", "blocks", "occupancy"] + list(COUNTS)

# Kernels by name, and the columns that must not be 0: f32 rows move in 16 bytes, bf16 ones in 8 where they meet f32 ones and else in 16.
MUST_HAVE = [(r"layernorm_held_kernel<\d+, float>", ["ld128", "st128"]), (r"layernorm_held_kernel<\d+, __nv_bfloat16>", ["ld128", "st64"]),
             (r"(activation|add|patches)_kernel<4, float>", ["ld128", "st128"]), (r"(activation|add|patches)_kernel<4, __nv_bfloat16>", ["ld128", "st64"]),
             (r"(bias_gelu|unfold|neighbours)_kernel<(4, float|8, __nv_bfloat16)>", ["ld128", "st128"]),
             (r"activation_backward_kernel<4(, float)*>", ["ld128", "st128"]), (r"cross_attention_forward_kernel", ["ld128"]),
             (r"attention_forward_kernel<bf16_math", ["copy128", "bf16", "ldmatrix", "st128"]),
             (r"attention_forward_kernel<tf32_math", ["ld128", "tf32", "ldmatrix", "st64"]),
             (r"attention_(dq|dkv)_kernel<bf16_math", ["copy128", "bf16"]), (r"attention_(dq|dkv)_kernel<tf32_math", ["ld128", "tf32"])]
MUST_NOT_HAVE = ["spill_ld", "spill_st"]


def find_tool(name, nvcc):
    for folder in (os.environ.get("CUDA_TOOLS"), os.path.dirname(nvcc)):
        if folder and os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    return shutil.which(name)


def read_version(nvcc):
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V([\d.]+)", text).group(1)


def dump(cuobjdump, what, path):
    folder = os.path.dirname(cuobjdump)  # where its nvdisasm is
    environment = {**os.environ, "PATH": folder + os.pathsep + os.environ["PATH"]}
    return subprocess.run([cuobjdump, what, path], capture_output=True, text=True, check=True, env=environment).stdout


def read_threads(text):
    """Kernel -> threads of a block, from the PTX."""
    return {name: int(x) * int(y) * int(z) for name, x, y, z in re.findall(r"\.entry (\w+)\([^{]*?\.maxntid (\d+), (\d+), (\d+)", text, re.S)}


def read_resources(text):
    """(architecture, kernel) -> registers, bytes of shared memory."""
    found = {}
    for part in text.split("\narch = ")[1:]:
        for name, registers, shared in re.findall(r"Function (\w+):\s+REG:(\d+) STACK:\d+ SHARED:(\d+)", part):
            found[part.split()[0], name] = int(registers), int(shared)
    return found


def count_instructions(text):
    """(architecture, kernel) -> column -> number."""
    found, architecture, counts = {}, None, {}
    patterns = {column: re.compile(r"\b" + pattern) for column, pattern in COUNTS.items()}
    for line in text.split("\n"):
        if line.startswith("\tcode for "):
            architecture = line.split()[-1]
        elif "Function : " in line:
            counts = found.setdefault((architecture, line.split()[-1]), dict.fromkeys(COUNTS, 0))
        elif re.search(r"LDG|STG|LDL|STL|LDSM|HMMA", line):
            for column, pattern in patterns.items():
                counts[column] += bool(pattern.search(line))
    return found


def count_dynamic(kernel):
    """Bytes of dynamic shared memory: lay_out_forward of attention.cu, lay_out_dq and lay_out_dkv of attention_backward.cu."""
    found = re.match(r"attention_(forward|dq|dkv)_kernel<(\w+)_math<(\d+)>(?:, (\d+))?(?:, (\d+))?", kernel)
    if not found:
        return 0
    kind, math, head, chunk, repeat = found.groups()
    element = 2 if math == "bf16" else 4
    row = (int(head) + 16 // element) * element
    side, lane_pad = (32, 32) if chunk in ("4", None) else (14, 16)
    queries = 64 * int(repeat or 1)
    line_stride = queries + 4
    terms = 4 * (queries * (-(-side // lane_pad) * lane_pad + 8) + side * line_stride + 2 * queries)
    if kind == "forward":
        return (queries + 128) * row + terms
    if kind == "dq":
        return 192 * row + terms + 4 * side * line_stride
    return 192 * row + 4 * 32 * (-(-2 * side // 16) * 16 + 4 + 2)


def find_occupancy(architecture, threads, registers, shared):
    all_registers, all_shared, all_warps, all_blocks = LIMITS[architecture]
    warps = threads // 32
    of_warp = -(-registers * 32 // 256) * 256
    blocks = min(all_blocks, all_warps // warps, all_registers // of_warp // warps, all_shared // shared if shared else all_blocks)
    return blocks, 100 * blocks * warps // all_warps


def shorten(names):
    """Mangled -> what is left of the demangled name without return type and parameters."""
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return {name: re.sub(r"^void ", "", line[:line.rindex("(")]) for name, line in zip(names, text.split("\n"))}


def list_rows(cuobjdump, objects):
    rows = []
    for path in sorted(objects):
        threads, resources = read_threads(dump(cuobjdump, "-ptx", path)), read_resources(dump(cuobjdump, "-res-usage", path))
        instructions = count_instructions(dump(cuobjdump, "-sass", path))
        short = shorten(sorted({name for _, name in resources}))
        for (architecture, name), (registers, shared) in resources.items():
            shared -= SYSTEM_BYTES if shared and architecture != "sm_80" else 0  # reported with a kernel's own only
            dynamic = count_dynamic(short[name])
            occupancy = find_occupancy(architecture, threads.get(name, MOST_THREADS), registers, shared + dynamic + SYSTEM_BYTES)
            counts = instructions[architecture, name]
            rows.append([short[name], architecture, threads.get(name, MOST_THREADS), registers, shared, dynamic, *occupancy, *(counts[c] for c in COUNTS)])
    return sorted(rows, key=lambda row: (row[0], int(row[1][3:])))


def judge(rows):
    """One line for each kernel that lacks what it must have; for a rule that no kernel meets, too."""
    faults, met = [], set()
    for row in rows:
        values = dict(zip(COLUMNS, row))
        where = "%s, %s" % (values["kernel"], values["architecture"])
        faults += ["%s: %s is %d" % (where, column, values[column]) for column in MUST_NOT_HAVE if values[column]]
        for i, (pattern, columns) in enumerate(MUST_HAVE):
            if re.match(pattern, values["kernel"]):
                met.add(i)
                faults += ["%s: no %s" % (where, column) for column in columns if not values[column]]
    faults += ["no kernel is called %s" % pattern for i, (pattern, _) in enumerate(MUST_HAVE) if i not in met]
    return faults


def format_table(version, rows):
    return ["# nvcc " + version, "\t".join(COLUMNS)] + ["\t".join(map(str, row)) for row in rows]


def compare(path, lines):
    with open(path, encoding="utf-8") as file:
        old = file.read().rstrip("\n").split("\n")
    gone, new = sorted(set(old) - set(lines)), sorted(set(lines) - set(old))
    return ["- " + line for line in gone] + ["+ " + line for line in new]


def skip(why):
    print("skipped: " + why)
    return 77


def main(arguments):
    is_writing = arguments[0] == "--write"
    path, nvcc, *objects = arguments[1:] if is_writing else arguments
    cuobjdump, version = find_tool("cuobjdump", nvcc), read_version(nvcc)
    if not cuobjdump or not find_tool("nvdisasm", nvcc):
        return skip("no cuobjdump or no nvdisasm (CUDA_TOOLS)")
    if not is_writing:
        with open(path, encoding="utf-8") as file:
            of_table = file.readline().split()[-1]
        if of_table != version:
            return skip("%s is of nvcc %s, this is %s" % (path, of_table, version))
    rows = list_rows(cuobjdump, objects)
    faults, lines = judge(rows), format_table(version, rows)
    if is_writing:
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    else:
        faults += compare(path, lines)
    print("\n".join(faults + ["%d kernels on %d architectures, %d differences or faults" % (
        len({row[0] for row in rows}), len({row[1] for row in rows}), len(faults))]))
    return 1 if faults or not rows else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
