#!/usr/bin/env python3
"""Round trip with nibabel. Volumes of every type, byte order, version and kind of orientation are written by nibabel and read by
nifti_echo: affine, axis codes and scaled values must be nibabel's. The label map that nifti_echo writes must be on the same grid, bit for
bit, hold the labels it should, and name them as TotalSegmentator's own reader expects.

Usage: test_nibabel.py NIFTI_ECHO; exit code 77 where nibabel is absent."""
import hashlib
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings
import xml.etree.ElementTree

try:
    import nibabel
    import numpy
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

SHAPE = (7, 6, 5)
TYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
ORGANS = ["spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas"]
PLACE_FIELDS = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y",
                "srow_z", "xyzt_units")
ENDINGS = (".nii", ".nii.gz", ".hdr")
generator = numpy.random.default_rng(3)


def affine_of(rotation, zooms, origin):
    out = numpy.eye(4)
    out[:3, :3] = rotation * zooms
    out[:3, 3] = origin
    return out


def right_angles():
    """All 48 ways to lay three axes along three axes: the half turns among them are where quaternions are least exact."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield numpy.eye(3)[:, list(order)] * signs


def random_rotation():
    q, _ = numpy.linalg.qr(generator.normal(size=(3, 3)))
    return q


def orientations():
    """(affine, which forms are set)."""
    for rotation in right_angles():
        yield affine_of(rotation, (.7, .8, 2.5), (10, -20, 30.125)), "q"
    for _ in range(40):
        origin = generator.normal(size=3) * 300
        yield affine_of(random_rotation(), generator.uniform(.3, 5, 3), origin), "q"
        yield affine_of(random_rotation(), generator.uniform(.3, 5, 3), origin), "s"
        yield affine_of(random_rotation(), generator.uniform(.3, 5, 3), origin) @ numpy.array(
            [[1, .2, 0, 0], [0, 1, -.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "s"
        yield affine_of(random_rotation(), (1, 1, 1), origin), "qs"
    yield numpy.diag([2., 3., 4., 1.]), ""


def values_of(kind):
    if kind.startswith("float"):
        return generator.normal(size=SHAPE) * 100
    limits = numpy.iinfo(kind)
    return generator.integers(max(limits.min, -30000), min(limits.max, 60000), SHAPE, endpoint=True)


def write_input(path, number, affine, forms):
    """A volume whose type, byte order, version and scaling follow from its number."""
    kind = TYPES[number % len(TYPES)]
    version = nibabel.Nifti2Header if number // 2 % 2 else nibabel.Nifti1Header
    pair = str(path).endswith(".hdr")
    image_class = {(False, False): nibabel.Nifti1Image, (False, True): nibabel.Nifti1Pair, (True, False): nibabel.Nifti2Image,
                   (True, True): nibabel.Nifti2Pair}[version is nibabel.Nifti2Header, pair]
    header = image_class.header_class(endianness="<>"[number // 4 % 2])
    header.set_data_dtype(numpy.dtype(kind).newbyteorder(header.endianness))
    header.set_xyzt_units("mm", "sec")
    image = image_class(values_of(kind).astype(header.get_data_dtype()), None, header)
    image.header.set_slope_inter(*((1, 0) if number % 3 else (0.25, -1024)))  # an image forgets its header's
    image.header.set_zooms((1.5, 2.5, 3.5))
    image.header.set_qform(affine if "q" in forms else None, 1 if "q" in forms else 0, strip_shears=True)
    image.header.set_sform(affine if "s" in forms else None, 2 if "s" in forms else 0)
    # Saving through the image would let nibabel rework forms and scaling; its parts write exactly what is set.
    file_map = image_class.filespec_to_file_map(str(path))
    with file_map["header" if pair else "image"].get_prepare_fileobj("wb") as file:
        image.header["vox_offset"] = 0 if pair else header.single_vox_offset
        image.header["magic"] = header.pair_magic if pair else header.single_magic
        image.header.write_to(file)  # with the four extension bytes
        if not pair:
            file.write(numpy.asanyarray(image.dataobj).tobytes(order="F"))
    if pair:
        with file_map["image"].get_prepare_fileobj("wb") as file:
            file.write(numpy.asanyarray(image.dataobj).tobytes(order="F"))


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def quaternion_limit():
    """How far, in mm, nibabel's affine of a qform may be from nifti_clib's. In a half-turn the first component, the root of
    1 - b*b - c*c - d*d, is 0 but for the rounding of b, c, d to float32. Newer versions, as nifti_clib and we, then take 0; older ones
    (5.0 of Debian 12) take the root of the rounding, up to 6e-4, which enters an entry of the rotation twice, times a spacing of up to
    5 mm. Elsewhere all compute in double; entries are below 2000 mm."""
    half = numpy.float32([0, .5 ** .5, .5 ** .5])
    return 1e-9 if nibabel.quaternions.fillpositive(half, nibabel.Nifti1Header.quaternion_threshold)[0] == 0 else 2 * 6e-4 * 5


# Two voxel axes run closest to the patient's third one. Newer versions of nibabel give it to the one that is closer, as we do.
CONTESTED = numpy.array([[-.331, 2.174, -1.654, 0], [-.329, -2.596, -1.144, 0], [-.446, .302, 2.070, 0], [0, 0, 0, 1]])


def is_contested(affine):
    """Is it such an affine, and gives this version (5.0 of Debian 12) the patient's axis to the voxel axis that comes first?"""
    closest = numpy.abs(affine[:3, :3] / numpy.linalg.norm(affine[:3, :3], axis=0)).argmax(axis=0)
    return len(set(closest)) < 3 and nibabel.aff2axcodes(CONTESTED) != ("L", "P", "S")


def check_reading(path, told, values):
    expected = nibabel.load(path)
    affine = numpy.array(told["affine"]).reshape(3, 4)
    error = numpy.abs(affine - expected.affine[:3]).max()
    check(error <= (1e-9 if expected.header["sform_code"] > 0 else quaternion_limit()), f"affine differs by {error}")
    codes = "".join(nibabel.aff2axcodes(expected.affine))
    check(told["axcodes"] == codes or is_contested(expected.affine), f"axes {told['axcodes']}, nibabel {codes}")
    check(numpy.dtype(told["datatype"]) == expected.get_data_dtype().newbyteorder("="), told["datatype"])
    check(numpy.array_equal(values, expected.get_fdata().astype("float32").ravel(order="F")), "scaled values")


def bits(header, field):
    """Any byte order's field as this machine's bytes."""
    value = numpy.asarray(header[field])
    return value.astype(value.dtype.newbyteorder("=")).tobytes()


def check_writing(source, written):
    before = nibabel.load(source).header.__class__.from_fileobj(open_header(source), check=False)
    image = nibabel.load(written)
    after = image.header.__class__.from_fileobj(open_header(written), check=False)
    check(type(after).__name__[:6] == type(before).__name__[:6], "version")
    for field in PLACE_FIELDS:
        check(bits(before, field) == bits(after, field), f"{field}: {before[field]} became {after[field]}")
    check(bits(before, "pixdim")[:4 * before["pixdim"].itemsize] == bits(after, "pixdim")[:4 * after["pixdim"].itemsize], "pixdim")
    check((float(after["scl_slope"]), float(after["scl_inter"])) == (1, 0), "scaling")
    check(image.header.get_intent()[0] == "label" and image.get_data_dtype() == numpy.uint8, "intent or type")
    check(numpy.array_equal(numpy.asarray(image.dataobj).ravel(order="F"), numpy.arange(numpy.prod(SHAPE)) % 9), "labels")
    check_names(image)


def open_header(path):
    return nibabel.openers.ImageOpener(str(path), "rb")


def check_names(image):
    """As totalsegmentator/nifti_ext_header.py reads them."""
    check(len(image.header.extensions) == 1, "one extension")
    extension = image.header.extensions[0]
    check(extension.get_code() == 0 and extension.get_sizeondisk() % 16 == 0, "extension code or size")
    root = xml.etree.ElementTree.fromstring(bytes(extension.get_content()).rstrip(b"\0").decode().strip())
    table = {int(label.get("Key")): label.text for label in root.findall("VolumeInformation/LabelTable/Label")}
    check(table == dict(enumerate(ORGANS, 1)), f"names: {table}")


def hash_of(path):
    """Of a pair: the hash of both files' hashes, as io/nifti.h says."""
    digests = [hashlib.sha256(part.read_bytes()).hexdigest() for part in ((path, path.with_suffix(".img")) if path.suffix == ".hdr" else (path,))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def main():
    echo = sys.argv[1]
    n_done = 0
    warnings.simplefilter("ignore")
    nibabel.imageglobals.logger.disabled = True
    with tempfile.TemporaryDirectory() as folder:
        for number, (affine, forms) in enumerate(orientations()):
            source = pathlib.Path(folder, f"in{number}{ENDINGS[number % 3]}")
            values, written = pathlib.Path(folder, "values"), pathlib.Path(folder, f"out{ENDINGS[number % 2]}")
            write_input(source, number, affine, forms)
            try:
                told = json.loads(subprocess.run([echo, source, values, written], stdout=subprocess.PIPE, check=True).stdout)
                check_reading(source, told, numpy.fromfile(values, "float32"))
                check_writing(source, written)
                check(told["sha256"] == hash_of(source), "sha256")
            except (AssertionError, subprocess.CalledProcessError) as error:
                print(f"volume {number} ({forms or 'no form'}, {source.suffix}): {error}\n{nibabel.load(source).header}")
                return 1
            n_done += 1
    print(f"{n_done} volumes read and written as nibabel {nibabel.__version__} does")
    return 0 if n_done > 200 else 1


sys.exit(main())
