"""What the tests of the command line share: running samed, small studies, comparing label maps. Standard library only."""
import atexit
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time

PROGRAM = os.environ["SAMED_PROGRAM"]
WORK = tempfile.mkdtemp(prefix="cli.", dir=os.getcwd())
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
SIZE = 64  # pixels: the smallest network input that has all parts; a slice takes milliseconds


def path(*parts):
    return os.path.join(WORK, *parts)


def environment(**changes):
    """The test's environment without what a launcher around it may have set."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_COMM_", "PMIX_", "PMI_", "SLURM_"))}
    # In a sanitizer build: Open MPI's own plugins leak a few kilobytes at exit. The commands without MPI are watched for leaks.
    clean.setdefault("ASAN_OPTIONS", "detect_leaks=0" if changes.pop("with_mpi", False) else "")
    clean.update(changes)
    return clean


def command(arguments, ranks):
    return (["mpirun", "-n", str(ranks)] if ranks else []) + [PROGRAM] + [str(a) for a in arguments]


def run(*arguments, ranks=0, **changes):
    """Runs samed to its end; ranks 0 is without a launcher. Returns the process with returncode, stdout and stderr."""
    with_mpi = arguments[:1] in (("segment",), ("evaluate",))
    timeout = changes.pop("timeout", 120)
    return subprocess.run(command(arguments, ranks), env=environment(with_mpi=with_mpi, **changes), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout)


def start(*arguments, ranks=0):
    """Starts samed in a process group of its own."""
    return subprocess.Popen(command(arguments, ranks), env=environment(with_mpi=True), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)


def descendants(pid):
    """Process numbers of everything that pid started, directly or not; mpirun gives each rank a process group of its own."""
    parents = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stream:
                parents[int(name)] = int(stream.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for parent in found:
        found.extend(child for child, its_parent in parents.items() if its_parent == parent)
    return found[1:]


def is_rank(pid, rank):
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return f"OMPI_COMM_WORLD_RANK={rank}".encode() in stream.read().split(b"\0")
    except OSError:
        return False


def has_signal(pid, number, masks):
    with open(f"/proc/{pid}/status", encoding="utf-8") as stream:
        return any(int(line.split()[1], 16) >> (number - 1) & 1 for line in stream if line.startswith(masks))


def catches(pid, number):
    """Has the process a handler for this signal?"""
    return has_signal(pid, number, ("SigCgt:",))


def withstands(pid, number):
    """Does this signal not kill the process: it has a handler, or keeps the signal for later? False when the process is gone."""
    try:
        return has_signal(pid, number, ("SigCgt:", "SigBlk:"))
    except OSError:
        return False


def kill_all(process):
    """SIGKILL to the process and everything under it: what a node that dies does. Returns when all are gone."""
    family = [process.pid, *descendants(process.pid)]
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.communicate()
    wait_for(lambda: not any(is_alive(pid) for pid in family), "the killed processes")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def check(process, code=0):
    if process.returncode != code:
        raise AssertionError(f"{process.args}: expected exit {code}, got {process.returncode}\n{process.stdout}\n{process.stderr}")
    return process


_made = {}


def study(cases=5, size=(30, 26, 7), seed=1):
    """A folder of synthetic CTs and tiny random weights, made once; the cases have different numbers of slices."""
    key = (cases, size, seed)
    if key not in _made:
        folder = path(f"study{len(_made)}")
        images = os.path.join(folder, "imagesTr")
        for i in range(cases):
            x, y, z = size
            check(run("phantom", "-q", "-o", os.path.join(folder, "part"), "--cases", "1", "--seed", seed + i, "--size", x + i, y, z + 3 * i % 5))
            os.makedirs(images, exist_ok=True)
            os.rename(os.path.join(folder, "part", "imagesTr", "case_0000_0000.nii.gz"), os.path.join(images, f"c{i}.nii.gz"))
        check(run("phantom", "-q", "-o", folder, "--cases", "0", "--weights", "tiny"))
        _made[key] = folder
    return _made[key]


def weights(folder):
    return ["--sam", os.path.join(folder, "sam_tiny.pth"), "--adapter", os.path.join(folder, "samed_tiny.pth")]


def segment_arguments(folder, out, *options, images=None):
    return ["segment", "-i", images or os.path.join(folder, "imagesTr"), "-o", out, *weights(folder), "--image-size", SIZE, "--threads", 1, *options]


def segment(folder, out, *options, ranks=0, images=None, **changes):
    return run(*segment_arguments(folder, out, *options, images=images), ranks=ranks, **changes)


def digest(file):
    with open(file, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def label_maps(out):
    """{file name: SHA-256} of all label maps in a folder."""
    return {name: digest(os.path.join(out, name)) for name in sorted(os.listdir(out)) if name.endswith("_dseg.nii.gz")}


def stamps(out):
    """{record: (inode, time)}: a record that is written again changes both."""
    found = {}
    for name in os.listdir(out):
        if name.endswith("_dseg.json"):
            try:
                about = os.stat(os.path.join(out, name))
            except FileNotFoundError:  # a run that makes it again has just removed it
                continue
            found[name] = (about.st_ino, about.st_mtime_ns)
    return found


def leftovers(out):
    return [name for name in os.listdir(out) if name.endswith(".tmp") or name == ".samed.lock"]


def table(file):
    """Rows of a tab-separated file with a header line, as dictionaries."""
    with open(file, encoding="utf-8") as stream:
        lines = [line.rstrip("\n").split("\t") for line in stream]
    return [dict(zip(lines[0], row)) for row in lines[1:]]


def read_json(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as stream:
        return json.load(stream)


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.005)


def write_nifti(file, dims, datatype=4, bits=16, payload=b"", magic=b"n+1\0", slope=1.0):
    """A NIfTI-1 header of these dims (x, y, z, ...) with payload behind it, uncompressed; right or wrong as the caller wants."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(dims), *dims, *[1] * (7 - len(dims)))
    struct.pack_into("<2h", header, 70, datatype, bits)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, slope, 0)
    header[344:348] = magic
    with open(file, "wb") as stream:
        stream.write(bytes(header) + payload)


def spoil_tensor(file, name, bits):
    """Writes bits (of an f32) over the first value of a tensor in a .safetensors file."""
    with open(file, "r+b") as stream:
        header_bytes = struct.unpack("<Q", stream.read(8))[0]
        start = json.loads(stream.read(header_bytes))[name]["data_offsets"][0]
        stream.seek(8 + header_bytes + start)
        stream.write(struct.pack("<I", bits))
