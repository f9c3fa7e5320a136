#!/usr/bin/env python3
"""Deletes every barrier, wait, event and index guard of model/cuda in turn; a test on the emulator must notice each time.

Usage: mutate.py BUILD [FILE[:LINE]...]     all files of model/cuda, or those named, for example lanes.c attention.cu:138. Run it on demand.
       mutate.py --list BUILD [FILE[:LINE]...]     says what would be deleted

Nothing is compiled once for each deletion: a copy of the sources in BUILD/scratch/mutants has all places armed, `(is_mutant(7) ? (void)0 :
(void)__syncthreads())`, and CUDAHOST_MUTANT=7 deletes that one. Of the tests in plan_tests() those come first that take least; the
first that fails ends a deletion's turn. Deletions that change nothing stand in EQUIVALENT with the reason; one that is noticed after all, or
that matches no place, is a failure like one that goes unnoticed.
"""
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = os.path.join(ROOT, "model", "cuda")
HANG_S = 600  # a deletion may leave a test in an endless loop

# What is deleted: calls that yield nothing, and calls of the runtime, which then succeed.
WAITS = re.compile(r"__syncthreads\(\)|__syncwarp\(\)|cuk_cp_async_wait<\d>\(\)|cuk_cp_async_commit\(\)")
EVENTS = re.compile(r"cuda(?:StreamWaitEvent|EventSynchronize|EventRecord|StreamSynchronize)\([^()]*\)")
IF = re.compile(r"\bif \(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)(?=\s)(\s*(?:return|continue)\b)?")
# Conditions on a thread's own place; what holds "->", a type, an error or a choice between kernels is the host's.
PLACE = re.compile(r"\b(?:m|i|l|k|c|d|x|y|r|j|row|pixel|place|line|next_lane|key)\b[^&|]* (?:<|>=) |\bis_here\b|\blane\b[^&|]* (?:<|==|>=) |"
                   r"find_lane\(\)|threadIdx")
HOST = re.compile(r"->|\berror\b|MODEL_|\bC <=|\bleast\b")

# File, and the place's line and the next one -> why nothing changes without it.
EQUIVALENT = {
    ("attention.cu", "__syncwarp(); if (w.is_cut)"): "the block's barrier before the first keys are staged came after the terms",
    ("attention.cu", "for (int half = 0; half < 2; half++, __syncwarp()) /* or the compiler begins with both, for which registers do not suffice */ "
                     "compute_logits<M, NT, MT>(s[half], lane_terms, queries, memory.keys + half * 32 * M::LD, memory.terms, w, "
                     "line + half * 4 / NT);"):
        "it stands there for the compiler alone",
    ("attention.cu", "if (next_lane < w.n_chunks * NT * 8) stage_keys<M>(memory.keys, ATTENTION_TILE, job, w, 1, next_line, next_lane, NT * 8); "
                     "#pragma unroll"): "keys past the last ones are staged as zeros, which nobody reads",
    ("attention.cu", "if (line + half * 4 / NT < w.n_lines) M::template multiply_values<MT, 4>(state.o, s[half], memory.values + half * 32 * "
                     "M::LD); }"): "saves a product of weights that are zero with values of zeros",
    ("attention_terms.h", "if (line < w.n_lines) M::template multiply_keys<MT, 4>(s, queries, keys); }"):
        "saves a product with keys of zeros, which leaves the dead logits as they are",
    ("backend_cuda.c", "if (status == IO_OK && backend->is_checked) status = CUDA_CHECK(cudaStreamSynchronize(backend->stream)); return status == "
                       "IO_OK ? IO_OK : io_fail_context(status, \"%s\", operation);"):
        "only names the launch that failed, which no launch of a test does",
    ("memory_cuda.c", "CUDA_TRY(cudaStreamSynchronize(backend->stream)); return lanes_sync_cuda(&backend->lanes);"):
        "before the sums of device memory exact_add has waited for its verdict, and so for all before it",
    ("relpos.c", "if (error == cudaSuccess) error = cudaStreamSynchronize(stream); if (error != cudaSuccess) return IO_FAIL(IO_ERR_DEVICE, "
                 "\"loading an attention's constants: %s\", cudaGetErrorString(error));"):
        "memory that is not pinned has been read when cudaMemcpyAsync returns; the wait is for its error",
    ("lanes.c", "if (lanes->up) CUDA_TRY(cudaStreamSynchronize(lanes->up)); if (lanes->down) CUDA_TRY(cudaStreamSynchronize(lanes->down));"):
        "the computing stream waits for every upload, and has been waited for already",
}


class Site:
    """One place: number, file, line, text of the line and the next one, what is deleted."""
    def __init__(self, number, name, text, start, what):
        self.number, self.name, self.what = number, name, what
        self.line = text.count("\n", 0, start) + 1
        self.text = " ".join(line.strip() for line in text.splitlines()[self.line - 1:self.line + 1])

    def declared(self):
        return EQUIVALENT.get((self.name, self.text))


def is_guard(condition):
    return PLACE.search(condition) and not HOST.search(condition)


def arm(name, text, first):
    """The text with all its places armed, and the places, numbered from first on."""
    sites, edits, is_kernel = [], [], not name.endswith(".c")
    patterns = [WAITS, IF] if is_kernel else [EVENTS]
    for match in sorted((m for p in patterns for m in p.finditer(text)), key=lambda m: m.start()):
        line_start = text.rfind("\n", 0, match.start()) + 1
        if re.match(r"\s*\*|.*/\*", text[line_start:match.start()]):  # in a comment
            continue
        number, found = first + len(sites), match.group(0)
        if match.re is IF:
            if not is_guard(match.group(1)):
                continue
            leaves = match.group(2)
            new = "if (!is_mutant(%d) && (%s))%s" % (number, match.group(1), leaves) if leaves else "if (is_mutant(%d) || (%s))" % (
                number, match.group(1))
            found = "if (%s)" % match.group(1)
        elif match.re is EVENTS:
            new = "(is_mutant(%d) ? cudaSuccess : %s)" % (number, found)
        else:
            new = "(is_mutant(%d) ? (void)0 : (void)%s)" % (number, found)
        sites.append(Site(number, name, text, match.start(), found))
        edits.append((match.start(), match.end(), new))
    for start, end, new in reversed(edits):
        text = text[:start] + new + text[end:]
    return text, sites


MUTANT_H = """#ifdef __cplusplus
extern "C"
#endif
int is_mutant(int number);
"""
MUTANT_C = """#include <stdlib.h>
#include <unistd.h>
#include "mutant.h"
static int wanted, is_said;
static __attribute__((constructor)) void start(void)
{
    wanted = atoi(getenv("CUDAHOST_MUTANT"));
}
/* Says once that the deleted place was reached, by write(), since a thread of a kernel has little stack. */
int is_mutant(int number)
{
    if (number != wanted) return 0;
    if (!is_said) is_said = (int)write(2, "\\nmutant is reached\\n", 19);
    return 1;
}
"""


def write(path, text):
    """Leaves a file alone that says the same already."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path) and open(path, encoding="utf-8").read() == text:
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def arm_all(folder):
    sites = []
    for name in sorted(os.listdir(SOURCES)):
        if not name.endswith((".c", ".cu", ".h")) or name == "cuk.h":
            continue
        with open(os.path.join(SOURCES, name), encoding="utf-8") as file:
            text, found = arm(name, file.read(), len(sites) + 1)
        sites += found
        write(os.path.join(folder, "model", "cuda", name), text)
    write(os.path.join(folder, "mutant.h"), MUTANT_H)
    write(os.path.join(folder, "mutant.c"), MUTANT_C)
    return sites


def hash_headers(folder):
    digest = hashlib.sha256()
    for top in (os.path.join(folder, "model", "cuda"), os.path.join(ROOT, "tests", "cudahost"), os.path.join(ROOT, "model")):
        for name in sorted(os.listdir(top)):
            if name.endswith(".h"):
                digest.update(open(os.path.join(top, name), "rb").read())
    return digest.hexdigest()


def compile_all(build, folder):
    """{object library: objects}, each compiled as BUILD does, but from the armed sources."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    headers, objects = hash_headers(folder), {}
    for entry in entries:
        library = re.search(r"/(cudahost_\w+)\.dir/", entry["command"])
        if not library or library.group(1) not in ("cudahost_sources", "cudahost_kernels", "cudahost_kernels_check"):
            continue
        source = os.path.join(folder, "model", "cuda", os.path.basename(entry["file"]))
        out = os.path.join(folder, library.group(1), os.path.basename(source) + ".o")
        words = shlex.split(entry["command"])
        words = [words[0], "-I" + folder, "-include", os.path.join(folder, "mutant.h")] + words[1:words.index("-o")] + ["-o", out, "-c", source]
        key = hashlib.sha256((" ".join(words) + headers).encode() + open(source, "rb").read()).hexdigest()
        objects.setdefault(library.group(1), []).append(out)
        if os.path.exists(out) and os.path.exists(out + ".key") and open(out + ".key", encoding="utf-8").read() == key:
            continue
        os.makedirs(os.path.dirname(out), exist_ok=True)
        print("compiling %s for %s" % (os.path.basename(source), library.group(1)), flush=True)
        subprocess.run(words, cwd=entry["directory"], check=True)
        write(out + ".key", key)
    return objects


def build_plugins(build, folder):
    """{"plain", "check"}: plug-ins of armed sources, beside BUILD's own emulator."""
    targets = ["cudahost_runtime", "cudahost_checker", "cudahost_aware_mpi", "test_cudahost_ops", "test_cudahost_slices", "samed"]
    subprocess.run(["cmake", "--build", build, "--target", *targets], check=True, stdout=subprocess.DEVNULL)
    objects = compile_all(build, folder)
    emulator = os.path.join(build, "tests", "cudahost", "CMakeFiles", "%s.dir")
    list_objects = lambda name: [os.path.join(emulator % name, o) for o in sorted(os.listdir(emulator % name)) if o.endswith(".o")]
    runtime, checker = list_objects("cudahost_runtime"), list_objects("cudahost_checker")
    parts = {"plain": objects["cudahost_sources"] + objects["cudahost_kernels"] + runtime,
             "check": objects["cudahost_sources"] + objects["cudahost_kernels_check"] + runtime + checker}
    mutant = os.path.join(folder, "mutant.o")
    subprocess.run(["cc", "-O2", "-fPIC", "-fvisibility=hidden", "-c", os.path.join(folder, "mutant.c"), "-o", mutant], check=True)
    plugins = {name: os.path.join(folder, "cudahost_%s.so" % name) for name in parts}
    for name, files in parts.items():
        if os.path.exists(plugins[name]) and os.path.getmtime(plugins[name]) > max(map(os.path.getmtime, files)):
            continue  # another run may be using it
        subprocess.run(["c++", "-shared", "-o", plugins[name] + ".part", *files, mutant,
                        "-Wl,--version-script=" + os.path.join(SOURCES, "exports.map")], check=True)
        os.replace(plugins[name] + ".part", plugins[name])
    return plugins


FEW = ["attention, windows of 3 over 4", "attention, 9 tokens inside*"]
BACK = ["attention backward, windows of 3 over 5*", "attention backward, 8 tokens inside*"]
# File -> operator cases that are quick, all that may notice, and whether slices run through it.
CASES = {
    "activation.cu": ([], ["activation*", "linear*GELU*"], False),
    "add.cu": ([], ["add*"], False),
    "attention.cu": (FEW, ["attention, *"], False),
    "attention_backward.cu": (BACK, ["attention backward*"], False),
    "attention_terms.h": (FEW + BACK, ["attention*"], False),
    "attention_tile.h": (FEW + BACK, ["attention*"], False),
    "conv.cu": ([], ["conv3x3*"], False),
    "cross_attention.cu": (["cross attention*odd sizes", "cross attention, tokens*"], ["cross attention*"], False),
    "exact.cu": ([], ["exact*"], False),
    "images.cu": ([], [], True),
    "labels.cu": (["labels, times 3.5"], ["labels*"], False),
    "layernorm.cu": (["layer norm, odd*", "layer norm, part*"], ["layer norm,*"], False),
    "layernorm_backward.cu": (["layer norm backward, odd*", "layer norm backward, part*"], ["layer norm backward*"], False),
    "linear_kernels.cu": (["linear*odd*"], ["linear*", "matrix update*"], False),
    "loss.cu": ([], ["loss*"], False),
    "masks.cu": (["masks, odd*"], ["masks*"], False),
    "norm.h": (["layer norm, odd*", "layer norm, part*"], ["layer norm*"], False),
    "patches.cu": ([], ["patches*"], False),
    "unfold.cu": ([], ["unfold*"], False),
    "update.cu": ([], ["AdamW", "SGD*"], False),
    "memory_cuda.c": ([], ["memory*", "lanes*", "linear, one*"], True),
    "lanes.c": ([], ["lanes*"], True),
    "relpos.c": ([], ["attention, one token", "attention, windows of *"], False),
    "backend_cuda.c": ([], ["add*", "linear, one*"], False),
}
LATE = {"CUDAHOST_ASYNC": "late", "CUDAHOST_GUARD": "1", "CUDAHOST_ORDER": "rand:2"}


def plan_tests(name):
    """What is run for a file, the quickest first: (program, arguments, plug-in, settings)."""
    quick, cases, has_slices = CASES[name]
    few = [("fwd", "f32, odd rows"), ("rev", "bf16, aligned rows")]
    orders = [("fwd", "*odd rows"), ("rev", "*aligned rows"), ("fwd", "*aligned rows"), ("rev", "*odd rows")]
    plan = []
    if not name.endswith(".c"):
        turns = [(case, how) for how in few + orders for case in quick] + [(case, how) for case in cases for how in orders]
        plan += [("test_cudahost_ops", [case, rows], "check", {"CUDAHOST_ORDER": order}) for case, (order, rows) in turns]
    plan += [("test_cudahost_ops", [case], "plain", LATE) for case in cases]
    if has_slices:
        plan += [("test_cudahost_slices", [], "plain", LATE)]
        plan += [("test_cudahost_slices", [], "check", {"CUDAHOST_ORDER": order}) for order in ("fwd", "rev")]
    if name in ("lanes.c", "memory_cuda.c"):
        plan += [("test_program.py", ["cudahost.mutants", "Program.test_passes_in_flight_do_not_mix"], "plain", {})]
    if name == "memory_cuda.c":  # only sums of the device's own memory rely on cuda_memory_sync
        plan += [("test_program.py", ["cudahost.mutants", "Program.test_sums_of_device_memory_give_the_bytes_of_one_rank"], "plain", {})]
    return plan


def run_test(build, plugins, test, number):
    """How a test ended: "" passed, else how it noticed; and whether the place was reached."""
    program, arguments, plugin, settings = test
    command = [os.path.join(build, "tests", "cudahost", program), *arguments]
    if program.endswith(".py"):
        command = [sys.executable, os.path.join(ROOT, "tests", "cudahost", program), *arguments]
    environment = {**os.environ, **settings, "SAMED_CUDA_PLUGIN": plugins[plugin], "TEST_REQUIRE_CUDA": "1", "SAMED_PROGRAM": os.path.join(
        build, "jobs", "samed"), "SAMED_SOURCE": ROOT, "CUDAHOST_MUTANT": str(number), "CUDAHOST_AWARE_MPI": os.path.join(
            build, "tests", "cudahost", "libcudahost_aware_mpi.so")}
    try:
        done = subprocess.run(command, cwd=os.path.join(build, "scratch"), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=HANG_S, check=False)
    except subprocess.TimeoutExpired:
        return "hangs", True
    text = done.stdout.decode(errors="replace")
    if re.search(r"\[==========\].* Running 0 test", text):
        raise SystemExit("%s %s runs no case" % (program, arguments))
    is_reached = "\nmutant is reached" in text
    if done.returncode == 0:
        return "", is_reached
    found = re.search(r"CHECK: (?!\d)([^:\n]*)|cudahost: error: ([^\n]{0,60})", text)  # a test that fails leaves memory behind, which counts not
    return (found.group(1) or found.group(2)) if found else "signal %d" % -done.returncode if done.returncode < 0 else "wrong result", is_reached


def describe(test):
    program, arguments, plugin, settings = test
    return "%s %s %s" % (program.replace("test_cudahost_", ""), plugin, " ".join(list(settings.values()) + ["'%s'" % a for a in arguments]))


def demand_clean(build, plugins, test, known=set()):
    """Without a deletion a test must pass, or what it notices says nothing."""
    if describe(test) in known:
        return
    how, _ = run_test(build, plugins, test, 0)
    if how:
        raise SystemExit("nothing is deleted, and yet: %s (%s)" % (how, describe(test)))
    known.add(describe(test))


def judge(build, plugins, site):
    """Whether the site is as it should be; says so in one line."""
    is_reached, start = False, time.time()
    for test in plan_tests(site.name):
        how, reached = run_test(build, plugins, test, site.number)
        is_reached = is_reached or reached
        if how:
            demand_clean(build, plugins, test)
            break
    where, reason = "%s:%d %s" % (site.name, site.line, site.what), site.declared()
    seconds = time.time() - start
    if how:
        print("%s  %s: %s (%s, %.0f s)" % ("NOTICED " if reason else "noticed ", where, how, describe(test), seconds), flush=True)
        return not reason
    mark = "equal   " if reason else "UNSEEN  " if is_reached else "UNTESTED"
    print("%s  %s (%.0f s)%s" % (mark, where, seconds, ": " + reason if reason else ""), flush=True)
    return bool(reason)


def main(arguments):
    is_list, arguments = arguments[:1] == ["--list"], [a for a in arguments if a != "--list"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    build = os.path.abspath(arguments[0])
    folder = os.path.join(build, "scratch", "mutants")
    every = arm_all(folder)
    sites = [site for site in every if len(arguments) == 1 or {site.name, "%s:%d" % (site.name, site.line)} & set(arguments[1:])]
    stale = sorted(set(EQUIVALENT) - {(site.name, site.text) for site in every})
    for name, text in stale:
        print("STALE     %s: no place on the line %s" % (name, text))
    if is_list:
        for site in sites:
            print("%3d %s:%d %s" % (site.number, site.name, site.line, site.what))
        return 0
    plugins = build_plugins(build, folder)
    n_right = sum([judge(build, plugins, site) for site in sites])
    n_equal = sum(1 for site in sites if site.declared())
    print("%d places, %d declared equivalent, %d not as they should be" % (len(sites), n_equal, len(sites) - n_right + len(stale)))
    return n_right != len(sites) or bool(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
