/* Reads a NIfTI file, tells as JSON what io made of its header, writes the scaled values as raw float32, and a label map on its grid.
 * test_nibabel.py compares all three with what nibabel says. Usage: nifti_echo IN VALUES LABELS_OUT */
#include <stdio.h>
#include <stdlib.h>

#include "io/json.h"
#include "io/labels.h"
#include "io/memory.h"
#include "io/nifti.h"

static int fail(void)
{
    fprintf(stderr, "%s\n", io_last_error());
    return 1;
}

static io_status tell(const io_volume *volume)
{
    io_json *root = NULL, *affine = NULL;
    char codes[4], *text = NULL;

    IO_TRY(io_json_create_object(&root));
    IO_TRY(io_json_create_array(&affine));
    for (int i = 0; i < 12; i++) IO_TRY(io_json_add_number(affine, volume->grid.affine[i / 4][i % 4]));
    IO_TRY(io_json_put(root, "affine", &affine));
    io_grid_axcodes(&volume->grid, codes);
    IO_TRY(io_json_put_text(root, "axcodes", codes));
    IO_TRY(io_json_put_text(root, "datatype", io_datatype_name(volume->datatype)));
    IO_TRY(io_json_put_text(root, "sha256", volume->sha256));
    IO_TRY(io_json_print(root, false, &text));
    puts(text);
    io_free(&text);
    io_json_free(&root);
    return IO_OK;
}

static io_status save_values(const io_volume *volume, const char *path)
{
    const size_t n_slice = (size_t)(volume->grid.dims[0] * volume->grid.dims[1]);
    float *slice = NULL;
    FILE *file = fopen(path, "wb");
    io_status status = IO_OK;

    if (!file) return IO_FAIL_ERRNO("%s", path);
    IO_TRY_GOTO(status, done, io_alloc(n_slice, sizeof *slice, (void **)&slice));
    for (int64_t k = 0; k < volume->grid.dims[2]; k++) {
        io_volume_slice(volume, k, slice);
        if (fwrite(slice, sizeof *slice, n_slice, file) != n_slice) IO_TRY_GOTO(status, done, IO_FAIL_ERRNO("%s", path));
    }
done:
    fclose(file);
    io_free(&slice);
    return status;
}

/* Label i % 9 for voxel i, names of the nine classes in the extension. */
static io_status save_labels(const io_grid *grid, int64_t n_voxels, const char *path)
{
    io_labels *labels = NULL;
    char *xml = NULL;
    uint8_t *voxels = NULL;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, io_labels_default(9, &labels));
    IO_TRY_GOTO(status, done, io_labels_xml(labels, &xml));
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_voxels, 1, (void **)&voxels));
    for (int64_t i = 0; i < n_voxels; i++) voxels[i] = (uint8_t)(i % 9);
    IO_TRY_GOTO(status, done, io_nifti_write_labels(path, grid, voxels, 1, xml, NULL));
done:
    io_labels_free(&labels);
    io_free(&xml);
    io_free(&voxels);
    return status;
}

int main(int argc, char **argv)
{
    io_volume *volume = NULL;
    int code = 0;

    if (argc != 4) return fprintf(stderr, "usage: nifti_echo IN VALUES LABELS_OUT\n"), 2;
    if (io_nifti_read(argv[1], &volume) != IO_OK || tell(volume) != IO_OK || save_values(volume, argv[2]) != IO_OK ||
        save_labels(&volume->grid, volume->n_voxels, argv[3]) != IO_OK)
        code = fail();
    io_volume_free(&volume);
    return code;
}
