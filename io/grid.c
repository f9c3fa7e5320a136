/* Where voxels lie: the affine out of sform, qform or spacing, and the anatomical names of the axes.
 *
 * The rules are nibabel's (nifti1.py, quaternions.py, orientations.py), which differ from nifti_clib's in one visible way:
 * nifti_quatern_to_dmat44 takes a quaternion with 1 - (b*b + c*c + d*d) < 1e-7 as a half turn, nibabel one below three float32
 * roundings (3.6e-7). Between the two the directions differ by up to 6e-4, half a millimetre at the far end of a torso. */
#include "io/grid.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include <nifti2_io.h>

#include "io/nifti.h"

double io_grid_quaternion_norm(const io_grid *grid)
{
    const double *q = grid->quatern;
    return q[0] * q[0] + q[1] * q[1] + q[2] * q[2];
}

/* The real part that makes the stored three a unit quaternion. Above 1 nibabel raises; here, as in nifti_clib, the rotation is taken as
 * a half turn about the stored axis, and io_nifti_check says so. */
static double solve_real_part(const io_grid *grid)
{
    const double epsilon = grid->nifti_version == 1 ? FLT_EPSILON : DBL_EPSILON; /* of the stored type */
    const double squared = 1.0 - io_grid_quaternion_norm(grid);
    return squared < 3 * epsilon ? 0.0 : sqrt(squared);
}

/* Rotation matrix of a quaternion that need not have length 1. */
static void rotate_by_quaternion(double w, const double q[3], double out[3][3])
{
    const double x = q[0], y = q[1], z = q[2];
    const double norm = w * w + x * x + y * y + z * z;
    const double s = norm < DBL_EPSILON ? 0.0 : 2.0 / norm;

    out[0][0] = 1 - s * (y * y + z * z);
    out[0][1] = s * (x * y - w * z);
    out[0][2] = s * (x * z + w * y);
    out[1][0] = s * (x * y + w * z);
    out[1][1] = 1 - s * (x * x + z * z);
    out[1][2] = s * (y * z - w * x);
    out[2][0] = s * (x * z - w * y);
    out[2][1] = s * (y * z + w * x);
    out[2][2] = 1 - s * (x * x + y * y);
}

/* Negative spacing counts as its length and zero as 1, as nibabel repairs them when it loads a header. */
static double repair_spacing(double pixdim)
{
    return pixdim == 0 ? 1.0 : fabs(pixdim);
}

void io_grid_qform(const io_grid *grid, double affine[3][4])
{
    const double qfac = grid->pixdim[0] == -1 ? -1.0 : 1.0; /* anything but -1 counts as 1, 0 included (nifti1.h) */
    double rotation[3][3];

    rotate_by_quaternion(solve_real_part(grid), grid->quatern, rotation);
    for (int row = 0; row < 3; row++) {
        for (int axis = 0; axis < 3; axis++) affine[row][axis] = rotation[row][axis] * repair_spacing(grid->pixdim[axis + 1]);
        affine[row][2] *= qfac;
        affine[row][3] = grid->qoffset[row];
    }
}

/* nibabel's base affine: neither form is there, so the grid's centre goes to the origin and the first axis points to the left. */
static void place_by_spacing(const io_grid *grid, int n_dims, double affine[3][4])
{
    memset(affine, 0, 3 * sizeof affine[0]);
    for (int axis = 0; axis < 3; axis++) {
        const double spacing = axis < n_dims ? repair_spacing(grid->pixdim[axis + 1]) : 1.0;
        affine[axis][axis] = axis == 0 ? -spacing : spacing;
        affine[axis][3] = -affine[axis][axis] * (double)(grid->dims[axis] - 1) / 2;
    }
}

void io_grid_derive(io_grid *grid, int n_dims)
{
    if (grid->sform_code > 0)
        memcpy(grid->affine, grid->srow, sizeof grid->affine);
    else if (grid->qform_code > 0)
        io_grid_qform(grid, grid->affine);
    else
        place_by_spacing(grid, n_dims, grid->affine);
    for (int axis = 0; axis < 3; axis++)
        grid->spacing_mm[axis] = sqrt(grid->affine[0][axis] * grid->affine[0][axis] + grid->affine[1][axis] * grid->affine[1][axis] +
                                      grid->affine[2][axis] * grid->affine[2][axis]);
}

void io_grid_create_plain(const int64_t dims[3], const double spacing_mm[3], const double origin_mm[3], io_grid *out)
{
    *out = (io_grid){.nifti_version = 1, .pixdim[0] = 1, .xyzt_units = NIFTI_UNITS_MM, .qform_code = 1, .sform_code = 1};
    for (int axis = 0; axis < 3; axis++) {
        if (dims[axis] > INT16_MAX) out->nifti_version = 2; /* NIfTI-1 stores dims as int16 */
        out->dims[axis] = dims[axis];
        out->pixdim[axis + 1] = spacing_mm[axis];
        out->qoffset[axis] = origin_mm[axis];
        out->srow[axis][axis] = spacing_mm[axis];
        out->srow[axis][3] = origin_mm[axis];
    }
    io_grid_derive(out, 3);
}

/* The rotation nearest to the affine's directions (columns scaled to length 1); false when they do not span the space. */
static bool find_nearest_rotation(const io_grid *grid, nifti_dmat33 *out)
{
    nifti_dmat33 directions;

    for (int row = 0; row < 3; row++)
        for (int axis = 0; axis < 3; axis++) {
            const double value = grid->affine[row][axis] / (grid->spacing_mm[axis] > 0 ? grid->spacing_mm[axis] : 1.0);
            if (!isfinite(value)) return false;
            directions.m[row][axis] = value;
        }
    if (!(fabs(nifti_dmat33_determ(directions)) > 1e-9)) { /* rounding of three unit columns is 1e-15; 1e-9 is flat */
        *out = directions;
        return false;
    }
    *out = nifti_dmat33_polar(directions);
    return true;
}

/* The free world row in which column axis of r is largest; -1 when the column is zero there. */
static int find_largest_row(const nifti_dmat33 *r, int axis, const bool is_taken[3])
{
    int best = -1;

    for (int row = 0; row < 3; row++)
        if (!is_taken[row] && fabs(r->m[row][axis]) > 1e-8 && (best < 0 || fabs(r->m[row][axis]) > fabs(r->m[best][axis]))) best = row;
    return best;
}

/* world_of_axis[i] is the world axis that voxel axis i runs along, or -1 where the affine is too degenerate to say. Axes choose in the
 * order of their largest component, as nibabel's io_orientation, so that two oblique axes never claim the same direction. */
static void match_axes(const io_grid *grid, int world_of_axis[3], int flip_of_axis[3])
{
    bool is_taken[3] = {false, false, false}, is_done[3] = {false, false, false};
    nifti_dmat33 r = {0};

    find_nearest_rotation(grid, &r);
    for (int turn = 0; turn < 3; turn++) {
        int strongest = -1;
        double largest = -1;
        for (int axis = 0; axis < 3; axis++) {
            const double size = fmax(fabs(r.m[0][axis]), fmax(fabs(r.m[1][axis]), fabs(r.m[2][axis])));
            if (is_done[axis] || !(size > largest + 1e-12)) continue; /* equal but for rounding: the first axis wins */
            strongest = axis;
            largest = size;
        }
        const int row = find_largest_row(&r, strongest, is_taken);
        is_done[strongest] = true;
        world_of_axis[strongest] = row;
        flip_of_axis[strongest] = row >= 0 && r.m[row][strongest] < 0;
        if (row >= 0) is_taken[row] = true;
    }
}

void io_grid_axcodes(const io_grid *grid, char out[4])
{
    static const char letters[2][4] = {"RAS", "LPI"};
    int world[3], flip[3];

    match_axes(grid, world, flip);
    for (int axis = 0; axis < 3; axis++) out[axis] = world[axis] < 0 ? '?' : letters[flip[axis]][world[axis]];
    out[3] = 0;
}

void io_grid_orientation(const io_grid *grid, int axis_of_world[3], int flip_of_world[3])
{
    int world[3], flip[3], free_row = 0;

    for (int row = 0; row < 3; row++) axis_of_world[row] = -1;
    match_axes(grid, world, flip);
    for (int axis = 0; axis < 3; axis++) {
        if (world[axis] < 0) continue;
        axis_of_world[world[axis]] = axis;
        flip_of_world[world[axis]] = flip[axis];
    }
    for (int axis = 0; axis < 3; axis++) { /* axes without a direction take what is left, so that the result stays a permutation */
        if (world[axis] >= 0) continue;
        while (axis_of_world[free_row] >= 0) free_row++;
        axis_of_world[free_row] = axis;
        flip_of_world[free_row] = 0;
    }
}
