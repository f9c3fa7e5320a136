/* What is readable but suspicious in a header. Nothing here refuses a file: the texts go to the user, who knows the scanner. */
#include "io/nifti.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include <nifti2_io.h>

#include "io/grid.h"

typedef struct warnings {
    char (*texts)[160];
    int n, n_max;
} warnings;

static void warn(warnings *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(warnings *w, const char *format, ...)
{
    va_list arguments;

    if (w->n == w->n_max) return;
    va_start(arguments, format);
    vsnprintf(w->texts[w->n++], sizeof w->texts[0], format, arguments);
    va_end(arguments);
}

static void check_spacing(const io_grid *grid, warnings *w)
{
    for (int axis = 0; axis < 3; axis++) {
        const double stored = grid->pixdim[axis + 1], used = grid->spacing_mm[axis];
        if (!(stored > 0))
            warn(w, "pixdim[%d] is %g; a spacing should be positive%s", axis + 1, stored,
                 grid->sform_code > 0 ? " (the sform is used)" : "");
        else if (isfinite(used) && used > 0 && fabs(stored - used) > 0.01 * used)
            warn(w, "pixdim[%d] is %g mm but the affine's axis has %g mm", axis + 1, stored, used);
        if (used > 0 && (used < 0.05 || used > 20)) /* below a micro-CT's, above any clinical slice distance */
            warn(w, "spacing along axis %d is %g mm; are the units right?", axis + 1, used);
    }
}

static bool is_finite(double affine[3][4])
{
    for (int i = 0; i < 12; i++)
        if (!isfinite(affine[i / 4][i % 4])) return false;
    return true;
}

/* ITK (itkNiftiImageIO.cxx) refuses a file whose direction cosines differ from a rotation by more than 1e-4. */
static void check_directions(const io_grid *grid, warnings *w)
{
    const double tolerance = 1e-4;
    double worst = 0;

    for (int a = 0; a < 3; a++)
        for (int b = a + 1; b < 3; b++) {
            double dot = 0;
            for (int row = 0; row < 3; row++) dot += grid->affine[row][a] * grid->affine[row][b];
            worst = fmax(worst, fabs(dot) / (grid->spacing_mm[a] * grid->spacing_mm[b]));
        }
    if (!(grid->spacing_mm[0] > 0 && grid->spacing_mm[1] > 0 && grid->spacing_mm[2] > 0) || worst > 1 - 1e-9)
        warn(w, "the affine is degenerate: two axes coincide or have no length");
    else if (worst > tolerance)
        warn(w, "the axes are not at right angles (cosine %.2g, ITK refuses above %g); read as they are", worst, tolerance);
}

/* The farthest that a corner of the grid moves between sform and qform, mm. */
static double compare_forms(const io_grid *grid, double qform[3][4])
{
    double worst = 0;

    for (int corner = 0; corner < 8; corner++) {
        double squared = 0;
        for (int row = 0; row < 3; row++) {
            double d = grid->srow[row][3] - qform[row][3];
            for (int axis = 0; axis < 3; axis++)
                if (corner >> axis & 1) d += (grid->srow[row][axis] - qform[row][axis]) * (double)(grid->dims[axis] - 1);
            squared += d * d;
        }
        worst = fmax(worst, sqrt(squared));
    }
    return worst;
}

static void check_forms(const io_grid *grid, warnings *w)
{
    const double smallest = fmin(grid->spacing_mm[0], fmin(grid->spacing_mm[1], grid->spacing_mm[2]));
    double qform[3][4];

    if (grid->sform_code <= 0 && grid->qform_code <= 0) warn(w, "neither qform nor sform is set: left and right are a guess");
    if (grid->sform_code > 5 || grid->qform_code > 5)
        warn(w, "qform_code %d, sform_code %d: not in the standard", grid->qform_code, grid->sform_code);
    if (grid->qform_code <= 0) return;
    if (io_grid_quaternion_norm(grid) > 1 + 1e-5) /* float32 rounding of three squares is below 1e-6 */
        warn(w, "the qform quaternion has b2+c2+d2 = %.6g > 1, no rotation; taken as a half turn", io_grid_quaternion_norm(grid));
    io_grid_qform(grid, qform);
    if (grid->sform_code > 0 && is_finite(qform) && compare_forms(grid, qform) > 0.1 * smallest) /* a tenth of a voxel cannot be seen */
        warn(w, "sform and qform disagree by up to %.3g mm; the sform is used", compare_forms(grid, qform));
}

static void check_units(const io_grid *grid, warnings *w)
{
    const int space = XYZT_TO_SPACE(grid->xyzt_units);

    if (space == NIFTI_UNITS_METER || space == NIFTI_UNITS_MICRON)
        warn(w, "the units are %s; samed, like nibabel, takes the numbers as mm", space == NIFTI_UNITS_METER ? "metres" : "microns");
    else if (space != NIFTI_UNITS_MM && space != NIFTI_UNITS_UNKNOWN)
        warn(w, "xyzt_units %d is not in the standard; taken as mm", grid->xyzt_units);
}

int io_nifti_check(const io_nifti_info *info, char texts[][160], int n_warnings)
{
    const io_grid *grid = &info->grid;
    io_grid copy = *grid;
    warnings w = {.texts = texts, .n = 0, .n_max = n_warnings};

    if (!is_finite(copy.affine)) {
        warn(&w, "the affine has entries that are not finite: orientation and spacing are unknown");
    } else {
        check_directions(grid, &w);
        check_forms(grid, &w);
    }
    check_spacing(grid, &w);
    check_units(grid, &w);
    for (int axis = 0; axis < 3; axis++)
        if (grid->dims[axis] == 1) warn(&w, "axis %d has a single voxel: is this one slice or a projection?", axis + 1);
    return w.n;
}
