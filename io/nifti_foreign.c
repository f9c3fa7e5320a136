/* What a file is that is not NIfTI: people point programs at DICOM slices, unfetched Git LFS files and saved error pages, and a message
 * that names them saves an hour. Signatures from each format's own definition. */
#include "io/nifti_header.h"

#include <string.h>

typedef struct signature {
    size_t offset; /* bytes from the start */
    const char *bytes;
    size_t n_bytes;
    const char *name;
} signature;

#define AT(offset, text, name)                                                                                                             \
    {                                                                                                                                      \
        offset, text, sizeof text - 1, name                                                                                                \
    }

/* Longer and stranger signatures first: the first match wins. */
static const signature signatures[] = {
    AT(128, "DICM", "a DICOM file; convert its series to NIfTI with dcm2niix"),
    AT(257, "ustar", "a tar archive; unpack it"),
    AT(0, "version https://git-lfs", "a Git LFS pointer, not the file itself; run git lfs pull"),
    AT(0, "/annex/objects/", "a git-annex pointer, not the file itself; run git annex get (datalad get)"),
    AT(0, "\x89PNG\r\n", "a PNG picture"),
    AT(0, "\x89HDF\r\n\x1a\n", "an HDF5 file (MINC 2 and .mat files are); convert it, MINC with mnc2nii"),
    AT(0, "CDF\x01", "a netCDF file (MINC 1 is); convert it with mnc2nii"),
    AT(0, "CDF\x02", "a netCDF file (MINC 1 is); convert it with mnc2nii"),
    AT(0, "NRRD0", "an NRRD file; convert it to NIfTI, for example with 3D Slicer or SimpleITK"),
    AT(0, "ObjectType", "a MetaImage header; convert it to NIfTI, for example with SimpleITK"),
    AT(0, "NDims", "a MetaImage header; convert it to NIfTI, for example with SimpleITK"),
    AT(0, "\xff\xd8\xff", "a JPEG picture"),
    AT(0, "II*\0", "a TIFF picture"),
    AT(0, "MM\0*", "a TIFF picture"),
    AT(0, "GIF8", "a GIF picture"),
    AT(0, "%PDF", "a PDF document"),
    AT(0, "PK\x03\x04", "a zip archive (PyTorch weights and .npz files are); unpack it"),
    AT(0, "\x1f\x8b", "gzip inside gzip; decompress it once"),
    AT(0, "\x28\xb5\x2f\xfd", "a zstd file inside another compression; decompress it once"),
    AT(0,
       "\xfd"
       "7zXZ",
       "an xz file; decompress it with unxz"),
    AT(0, "BZh", "a bzip2 file; decompress it with bunzip2"),
    AT(0, "7z\xbc\xaf", "a 7-zip archive; unpack it"),
    AT(0, "\x93NUMPY", "a NumPy array; save it as NIfTI with nibabel"),
    AT(0, "<!DOCTYPE", "a web page; the download failed"),
    AT(0, "<!doctype", "a web page; the download failed"),
    AT(0, "<html", "a web page; the download failed"),
    AT(0, "<?xml", "an XML text"),
};

/* FreeSurfer's MGH: version 1, four dimensions and a type 0..4, all big-endian 32-bit integers. */
static bool is_mgh(const uint8_t *bytes, size_t n_bytes)
{
    static const uint8_t one[4] = {0, 0, 0, 1};
    return n_bytes >= 24 && memcmp(bytes, one, 4) == 0 && bytes[4] == 0 && bytes[8] == 0 && bytes[12] == 0 && bytes[23] <= 4 &&
           (bytes[6] || bytes[7]) && (bytes[10] || bytes[11]);
}

const char *io_nifti_foreign_name(const uint8_t *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        const signature *s = &signatures[i];
        if (s->offset + s->n_bytes <= n_bytes && memcmp(bytes + s->offset, s->bytes, s->n_bytes) == 0) return s->name;
    }
    return is_mgh(bytes, n_bytes) ? "a FreeSurfer MGH volume; convert it with mri_convert" : NULL;
}
