/* Which cases there are, what their headers say, which are finished. See segment.h. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/file.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "jobs/segment.h"
#include "jobs/stop.h"

/* Finished label maps in the folder that is both input and output are not new cases. */
static void drop_own_outputs(const char *output_folder, io_manifest *manifest)
{
    size_t n_kept = 0;
    char folder[PATH_MAX], real[PATH_MAX];

    if (!realpath(output_folder, folder)) return;
    for (size_t i = 0; i < manifest->n_cases; i++) {
        io_case *c = &manifest->cases[i];
        const bool is_here = realpath(c->path, real) && !strncmp(real, folder, strlen(folder)) && real[strlen(folder)] == '/' &&
                             !strchr(real + strlen(folder) + 1, '/');
        if (is_here && io_path_has_suffix(c->id, "_dseg")) {
            io_free(&c->id);
            io_free(&c->path);
            continue;
        }
        manifest->cases[n_kept++] = *c;
    }
    manifest->n_cases = n_kept;
}

/* A list may name anything: a case whose image would be replaced by its own label map is refused. */
static io_status check_overlap(const char *output_folder, const io_manifest *manifest)
{
    for (size_t i = 0; i < manifest->n_cases; i++) {
        const io_case *c = &manifest->cases[i];
        struct stat input, output;
        char *path = NULL;
        bool is_same;
        IO_TRY(pipe_case_path(output_folder, c->id, "_dseg.nii.gz", &path));
        is_same = stat(path, &output) == 0 && stat(c->path, &input) == 0 && input.st_dev == output.st_dev && input.st_ino == output.st_ino;
        io_free(&path);
        if (is_same)
            return IO_FAIL(IO_ERR_ARGUMENT, "case %s: its label map would replace its image %s; give another output folder or name", c->id,
                           c->path);
    }
    return IO_OK;
}

static io_status find_cases(const job_segment_options *options, io_manifest **out)
{
    if (options->list && !io_file_exists(options->list))
        return IO_FAIL(IO_ERR_ARGUMENT, "--list: there is no file %s; give a table with one 'id<TAB>path' per line", options->list);
    if (options->list)
        IO_TRY(io_manifest_read(options->list, out));
    else
        IO_TRY(io_manifest_from_paths(options->inputs, options->n_inputs, out));
    drop_own_outputs(options->output, *out);
    if ((*out)->n_cases > 0) return check_overlap(options->output, *out);
    io_manifest_free(out);
    return IO_FAIL(IO_ERR_NOT_FOUND, "no case was given; expected NIfTI files (.nii, .nii.gz, .nii.zst, .hdr + .img)");
}

/* One line per case: bytes, id, path. Rank 0 alone lists folders: a thousand ranks would be a storm on the file server. */
static io_status print_manifest(const io_manifest *manifest, char **out)
{
    size_t n_bytes = 1, used = 0;

    for (size_t i = 0; i < manifest->n_cases; i++) n_bytes += strlen(manifest->cases[i].id) + strlen(manifest->cases[i].path) + 32;
    IO_TRY(io_alloc(n_bytes, 1, (void **)out));
    for (size_t i = 0; i < manifest->n_cases; i++) {
        const io_case *c = &manifest->cases[i];
        if (strchr(c->id, '\n') || strchr(c->path, '\n'))
            return IO_FAIL(IO_ERR_ARGUMENT, "the path '%s' holds a line break; rename the file", c->path);
        used += (size_t)snprintf(*out + used, n_bytes - used, "%llu\t%s\t%s\n", (unsigned long long)c->file_bytes, c->id, c->path);
    }
    return IO_OK;
}

static io_status add_case(io_manifest *manifest, char *line)
{
    char *id = strchr(line, '\t'), *path = id ? strchr(id + 1, '\t') : NULL;
    io_case *c = &manifest->cases[manifest->n_cases];

    if (!path) return IO_FAIL(IO_ERR_FORMAT, "rank 0 sent an unreadable case line");
    *path++ = '\0';
    manifest->n_cases++;
    c->file_bytes = strtoull(line, NULL, 10);
    IO_TRY(io_string_copy(id + 1, &c->id));
    return io_string_copy(path, &c->path);
}

static io_status read_manifest(char *text, io_manifest **out)
{
    io_status status = IO_OK;
    io_manifest *manifest = NULL;
    size_t n_lines = 0;
    char *rest;

    for (const char *at = text; *at; at++) n_lines += *at == '\n';
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *manifest, (void **)&manifest));
    IO_TRY_GOTO(status, done, io_alloc(n_lines, sizeof *manifest->cases, (void **)&manifest->cases));
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        IO_TRY_GOTO(status, done, add_case(manifest, line));
    *out = manifest;
    manifest = NULL;
done:
    io_manifest_free(&manifest);
    return status;
}

/* Collective. */
static io_status share_manifest(const job_comm *world, const job_segment_options *options, io_manifest **out)
{
    io_status status = IO_OK;
    char *text = NULL;

    if (world->rank == 0) status = find_cases(options, out);
    if (world->rank == 0 && status == IO_OK) status = print_manifest(*out, &text);
    if (!job_all_ok(world, &status, NULL)) goto done;
    IO_TRY_GOTO(status, done, job_comm_bcast_text(world, &text, 0));
    if (world->rank != 0) status = read_manifest(text, out);
    (void)job_all_ok(world, &status, NULL);
done:
    io_free(&text);
    return status;
}

int64_t job_segment_count_slices(const io_grid *grid, pipe_orient orient)
{
    int axis[3], flip[3];

    if (orient == PIPE_ORIENT_NATIVE) return grid->dims[2];
    io_grid_orientation(grid, axis, flip);
    return grid->dims[axis[2]];
}

/* A header that cannot be read counts as one slice; reading it again as a case gives the failure its place in failed.tsv. */
static void read_header(const io_case *c, pipe_orient orient, segment_plan *plan, size_t i)
{
    io_nifti_info info;

    plan->n_slices[i] = 1;
    if (io_nifti_read_info(c->path, &info) != IO_OK) return;
    plan->n_slices[i] = job_segment_count_slices(&info.grid, orient);
    plan->n_voxels[i] = info.grid.dims[0] * info.grid.dims[1] * info.grid.dims[2];
    plan->image_bytes[i] = plan->n_voxels[i] * (int64_t)io_datatype_bytes(info.datatype);
}

static void add_up(segment_plan *plan)
{
    plan->n_done = plan->n_left = plan->slices_left = 0;
    for (size_t i = 0; i < plan->manifest->n_cases; i++) {
        plan->to_do[i] = plan->is_done[i] ? 0 : plan->n_slices[i];
        plan->n_done += plan->is_done[i] != 0;
        plan->n_left += plan->is_done[i] == 0;
        plan->slices_left += plan->to_do[i];
    }
}

static io_status allocate_counts(segment_plan *plan)
{
    const size_t n = plan->manifest->n_cases;

    IO_TRY(io_alloc(n, sizeof *plan->n_slices, (void **)&plan->n_slices));
    IO_TRY(io_alloc(n, sizeof *plan->n_voxels, (void **)&plan->n_voxels));
    IO_TRY(io_alloc(n, sizeof *plan->image_bytes, (void **)&plan->image_bytes));
    IO_TRY(io_alloc(n, sizeof *plan->is_done, (void **)&plan->is_done));
    return io_alloc(n, sizeof *plan->to_do, (void **)&plan->to_do);
}

io_status job_segment_plan_create(const job_comm *world, const job_segment_options *options, segment_plan *out)
{
    io_status status;
    size_t n;

    IO_TRY(share_manifest(world, options, &out->manifest));
    n = out->manifest->n_cases;
    status = n > INT_MAX ? IO_FAIL(IO_ERR_RANGE, "%zu cases are more than one run can take", n) : allocate_counts(out);
    if (!job_all_ok(world, &status, NULL)) return status;
    for (size_t i = (size_t)world->rank; i < n; i += (size_t)world->size)
        read_header(&out->manifest->cases[i], options->pipe.orient, out, i);
    job_comm_sum(world, out->n_slices, (int)n);
    job_comm_sum(world, out->n_voxels, (int)n);
    job_comm_sum(world, out->image_bytes, (int)n);
    add_up(out);
    return IO_OK;
}

void job_segment_plan_free(segment_plan *plan)
{
    io_manifest_free(&plan->manifest);
    io_free(&plan->n_slices);
    io_free(&plan->n_voxels);
    io_free(&plan->image_bytes);
    io_free(&plan->is_done);
    io_free(&plan->to_do);
}

bool job_segment_plan_has_records(const job_comm *world, const pipe_outputs *outputs, const segment_plan *plan)
{
    int64_t n_records = 0;

    for (size_t i = (size_t)world->rank; i < plan->manifest->n_cases; i += (size_t)world->size)
        n_records += pipe_case_has_record(outputs, plan->manifest->cases[i].id);
    job_comm_sum(world, &n_records, 1);
    return n_records > 0;
}

io_status job_segment_plan_check_done(const job_comm *world, const pipe_outputs *outputs, segment_plan *plan)
{
    io_status status = IO_OK;

    for (size_t i = (size_t)world->rank; i < plan->manifest->n_cases && !job_stop_asked(); i += (size_t)world->size) {
        const io_case *c = &plan->manifest->cases[i];
        char reason[160] = "";
        bool is_done = false;
        if (!pipe_case_has_record(outputs, c->id)) continue;
        if (pipe_case_check_done(outputs, c->id, c->path, &is_done, reason) != IO_OK)
            snprintf(reason, sizeof reason, "%.150s", io_last_error_text());
        plan->is_done[i] = is_done;
        if (!is_done) io_log(IO_LOG_INFO, "case %s is done again: %s", c->id, reason);
    }
    if (job_stop_asked())
        status = IO_FAIL(IO_ERR_STOPPED, "stopped by %s while earlier results were verified; start again with the same options to continue",
                         job_stop_name());
    if (!job_all_ok(world, &status, NULL)) return status;
    job_comm_sum(world, plan->is_done, (int)plan->manifest->n_cases);
    add_up(plan);
    return IO_OK;
}

int job_segment_team_size(const job_segment_options *options, const segment_plan *plan, int n_ranks)
{
    if (options->team == JOB_TEAM_ALL) return n_ranks;
    if (options->team == JOB_TEAM_AUTO) return job_team_size_choose(plan->to_do, plan->manifest->n_cases, n_ranks);
    return options->team < n_ranks ? options->team : n_ranks;
}
