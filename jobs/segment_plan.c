/* Which cases there are, what their headers say, which are finished. See segment.h. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "io/log.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "jobs/segment.h"
#include "jobs/stop.h"

int64_t job_segment_count_slices(const io_grid *grid, pipe_orient orient)
{
    int axis[3], flip[3];

    if (orient == PIPE_ORIENT_NATIVE) return grid->dims[2];
    io_grid_orientation(grid, axis, flip);
    return grid->dims[axis[2]];
}

/* Pixels of the longer side of a slice. */
static int64_t find_side(const io_grid *grid, pipe_orient orient)
{
    int axis[3] = {0, 1, 2}, flip[3];

    if (orient != PIPE_ORIENT_NATIVE) io_grid_orientation(grid, axis, flip);
    return grid->dims[axis[0]] > grid->dims[axis[1]] ? grid->dims[axis[0]] : grid->dims[axis[1]];
}

/* A header that cannot be read counts as one slice; reading it again as a case gives the failure its place in failed.tsv. */
static void read_header(const io_case *c, pipe_orient orient, segment_dry *dry, segment_plan *plan, size_t i)
{
    io_nifti_info info;
    const bool is_readable = io_nifti_read_info(c->path, &info) == IO_OK;

    if (dry) job_segment_dry_case(dry, c, is_readable ? &info : NULL);
    plan->n_slices[i] = 1;
    if (!is_readable) return;
    plan->n_slices[i] = job_segment_count_slices(&info.grid, orient);
    plan->n_voxels[i] = info.grid.dims[0] * info.grid.dims[1] * info.grid.dims[2];
    plan->image_bytes[i] = plan->n_voxels[i] * (int64_t)io_datatype_bytes(info.datatype);
    plan->sides[i] = find_side(&info.grid, orient);
}

static void add_up(segment_plan *plan)
{
    plan->n_done = plan->n_left = plan->slices_left = 0;
    for (size_t i = 0; i < plan->manifest->n_cases; i++) {
        plan->to_do[i] = plan->is_done[i] || plan->is_left_out[i] ? 0 : plan->n_slices[i];
        plan->n_done += !plan->is_left_out[i] && plan->is_done[i];
        plan->n_left += !plan->is_left_out[i] && !plan->is_done[i];
        plan->slices_left += plan->to_do[i];
    }
}

static io_status allocate_counts(segment_plan *plan)
{
    const size_t n = plan->manifest->n_cases;

    IO_TRY(io_alloc(n, sizeof *plan->n_slices, (void **)&plan->n_slices));
    IO_TRY(io_alloc(n, sizeof *plan->n_voxels, (void **)&plan->n_voxels));
    IO_TRY(io_alloc(n, sizeof *plan->image_bytes, (void **)&plan->image_bytes));
    IO_TRY(io_alloc(n, sizeof *plan->sides, (void **)&plan->sides));
    IO_TRY(io_alloc(n, sizeof *plan->is_done, (void **)&plan->is_done));
    return io_alloc(n, sizeof *plan->to_do, (void **)&plan->to_do);
}

/* This rank's part of the headers. */
static void read_headers(const job_comm *world, const job_segment_options *options, segment_dry *dry, segment_plan *plan)
{
    const size_t step = options->dry_run ? 1 : (size_t)world->size;

    if (options->dry_run && world->rank > 0) return;
    for (size_t i = (size_t)world->rank; i < plan->manifest->n_cases; i += step) {
        if (plan->is_left_out[i])
            plan->n_slices[i] = 1;
        else
            read_header(&plan->manifest->cases[i], options->pipe.orient, dry, plan, i);
    }
}

io_status job_segment_plan_create(const job_comm *world, const job_segment_options *options, segment_dry *dry, segment_plan *out)
{
    io_status status;
    size_t n;

    IO_TRY(job_segment_cases_find(world, options, out));
    n = out->manifest->n_cases;
    status = n > INT_MAX ? IO_FAIL(IO_ERR_RANGE, "%zu cases are more than one run can take", n) : allocate_counts(out);
    if (!job_all_ok(world, &status, NULL)) return status;
    read_headers(world, options, dry, out);
    job_comm_sum(world, out->n_slices, (int)n);
    job_comm_sum(world, out->n_voxels, (int)n);
    job_comm_sum(world, out->image_bytes, (int)n);
    job_comm_sum(world, out->sides, (int)n);
    add_up(out);
    return IO_OK;
}

void job_segment_plan_free(segment_plan *plan)
{
    io_manifest_free(&plan->manifest);
    io_free(&plan->is_left_out);
    io_free(&plan->old_failures);
    io_free(&plan->known_slices);
    io_free(&plan->n_slices);
    io_free(&plan->n_voxels);
    io_free(&plan->image_bytes);
    io_free(&plan->sides);
    io_free(&plan->is_done);
    io_free(&plan->to_do);
}

io_status job_segment_room(const segment_plan *plan, const pipe_options *options, model_slicing_room *out)
{
    size_t n_bytes = 1, n_pixels = 1, side = 1;

    for (size_t i = 0; i < plan->manifest->n_cases; i++) {
        const size_t pixels = (size_t)(plan->n_voxels[i] / plan->n_slices[i]), own = (size_t)(plan->image_bytes[i] / plan->n_slices[i]);
        const size_t raw = own < pixels * sizeof(float) ? own : pixels * sizeof(float); /* wider types reach the device as f32 */
        if (raw > n_bytes) n_bytes = raw;
        if (pixels > n_pixels) n_pixels = pixels;
        if ((size_t)plan->sides[i] > side) side = (size_t)plan->sides[i];
    }
    return pipe_slices_room(options, n_bytes, n_pixels, side, out);
}

size_t job_segment_largest_case(const segment_plan *plan)
{
    size_t largest = 0;

    for (size_t i = 1; i < plan->manifest->n_cases; i++)
        if (plan->n_voxels[i] / plan->n_slices[i] > plan->n_voxels[largest] / plan->n_slices[largest]) largest = i;
    return largest;
}

io_status job_segment_plan_redo_before(const job_comm *world, const char *file, segment_plan *plan)
{
    io_status status = IO_OK;
    struct stat about = {0};

    if (world->rank == 0 && stat(file, &about) != 0)
        status = IO_FAIL(IO_ERR_ARGUMENT, "--overwrite-before %s: cannot be read (%s); its time says which cases are redone", file,
                         strerror(errno));
    if (!job_all_ok(world, &status, NULL)) return status;
    job_comm_bcast(world, &about.st_mtim, sizeof about.st_mtim, 0);
    plan->redo_before = about.st_mtim;
    return IO_OK;
}

/* A record is written last, so its time is that of the case. */
static bool has_record(const pipe_outputs *outputs, const segment_plan *plan, size_t index)
{
    const char *id = plan->manifest->cases[index].id;
    const struct timespec *limit = &plan->redo_before;
    struct stat about;
    char *path = NULL;
    bool is_old;

    if (plan->is_left_out[index] || !pipe_case_has_record(outputs, id)) return false;
    if (limit->tv_sec == 0 || pipe_case_path(outputs->folder, id, "_dseg.json", &path) != IO_OK) return true;
    is_old = stat(path, &about) == 0 &&
             (about.st_mtim.tv_sec < limit->tv_sec || (about.st_mtim.tv_sec == limit->tv_sec && about.st_mtim.tv_nsec < limit->tv_nsec));
    io_free(&path);
    return !is_old;
}

bool job_segment_plan_has_records(const job_comm *world, const pipe_outputs *outputs, const segment_plan *plan)
{
    int64_t n_records = 0;

    for (size_t i = (size_t)world->rank; i < plan->manifest->n_cases; i += (size_t)world->size) n_records += has_record(outputs, plan, i);
    job_comm_sum(world, &n_records, 1);
    return n_records > 0;
}

io_status job_segment_plan_check_done(const job_comm *world, const pipe_outputs *outputs, segment_plan *plan)
{
    io_status status = IO_OK;
    int64_t n_other = 0; /* by other options, weights, version: that somebody wants to keep perhaps */

    for (size_t i = (size_t)world->rank; i < plan->manifest->n_cases && !job_stop_asked(); i += (size_t)world->size) {
        const io_case *c = &plan->manifest->cases[i];
        char reason[160] = "";
        bool is_done = false;
        if (!has_record(outputs, plan, i)) continue;
        if (pipe_case_check_done(outputs, c->id, c->path, &is_done, reason) != IO_OK)
            snprintf(reason, sizeof reason, "%.150s", io_last_error_text());
        plan->is_done[i] = is_done;
        n_other += !is_done && !strncmp(reason, "it was made ", 12);
        if (!is_done) io_log(IO_LOG_INFO, "case %s is done again: %s", c->id, reason);
    }
    if (job_stop_asked())
        status = IO_FAIL(IO_ERR_STOPPED, "stopped by %s while earlier results were verified; start again with the same options to continue",
                         job_stop_name());
    if (!job_all_ok(world, &status, NULL)) return status;
    job_comm_sum(world, plan->is_done, (int)plan->manifest->n_cases);
    job_comm_sum(world, &n_other, 1);
    add_up(plan);
    if (n_other > 0 && world->rank == 0)
        io_log(IO_LOG_WARN,
               "%lld finished case%s here made with other options, weights or version and will be replaced; to keep them, stop now and "
               "give another output folder",
               (long long)n_other, n_other == 1 ? " was" : "s were");
    return IO_OK;
}

/* GFLOP/s of a core of a current CPU, and of a GPU for data centres, by precision: some two thirds of what data sheets say. They may be
 * wrong by a factor of three, with which simulated runs still end as they should (tests/jobs/test_scaling.c). */
double job_segment_guess_slice_s(const model_config *config, model_device_kind kind, model_type precision, int n_threads)
{
    const double core = precision == MODEL_BF16 ? 160e9 : 80e9;
    const double gpu = precision == MODEL_BF16 ? 200e12 : precision == MODEL_TF32 ? 80e12 : 14e12;

    return model_sam_flop(config) / (kind == MODEL_DEVICE_CUDA ? gpu : core * n_threads);
}

/* Opening a case takes some 50 ms on the file system of a cluster, an assumption, and 1.2 ms for each of its slices, which are inflated and
 * hashed (io/README.md). */
job_cutting job_segment_cutting(const job_segment_options *options, int n_ranks, int batch, double slice_s)
{
    const bool is_all = options->team == JOB_TEAM_ALL || options->team > n_ranks;

    return (job_cutting){.n_ranks = n_ranks,
                         .most_parts = options->team == JOB_TEAM_AUTO ? 0
                                       : is_all                       ? n_ranks
                                                                      : options->team,
                         .grain = batch,
                         .opening = 0.05 / slice_s,
                         .opening_slice = 0.0012 / slice_s};
}
