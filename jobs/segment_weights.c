/* Weight files, the network, the label names, and the hashes that identify them. See segment.h. */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/log.h"
#include "io/memory.h"
#include "jobs/segment.h"
#include "jobs/weights.h"

static io_status open_files(const job_segment_options *options, segment_weights *weights)
{
    IO_TRY(io_tensors_open(options->sam, &weights->sam));
    if (options->adapter) IO_TRY(io_tensors_open(options->adapter, &weights->adapter));
    IO_TRY(model_config_infer(weights->sam, weights->adapter, options->pipe.image_size, &weights->config));
    return options->adapter ? job_weights_check_unmerged(options->sam, weights->config.sam_channels) : IO_OK;
}

/* Classes without a name come out all the same, under their numbers: a table of other weights is more likely than a wish. */
static void warn_of_missing_names(const char *path, const io_labels *names, int n_classes)
{
    char missing[160] = "";
    int n_missing = 0;

    for (int value = 1; value < n_classes; value++) {
        const size_t used = strlen(missing);
        if (io_labels_find(names, value)) continue;
        n_missing++;
        if (used + 16 < sizeof missing) snprintf(missing + used, sizeof missing - used, "%s%d", used ? ", " : "", value);
    }
    if (n_missing > 0)
        io_log(IO_LOG_WARN, "%s: gives no name to %d of the network's %d classes (%s); is it the table of these weights?", path, n_missing,
               n_classes - 1, missing);
}

/* The table that --labels names, else the one that samed train left beside the adapter; NULL without either. */
static io_status find_table(const job_segment_options *options, char **out)
{
    char *folder = NULL, *path = NULL;
    io_status status = IO_OK;

    *out = NULL;
    if (options->labels) return io_string_copy(options->labels, out);
    if (!options->adapter) return IO_OK;
    IO_TRY(io_path_folder(options->adapter, &folder));
    status = io_path_join(folder, "labels.json", &path);
    io_free(&folder);
    if (status == IO_OK && io_file_exists(path))
        *out = path;
    else
        io_free(&path);
    return status;
}

static io_status check_names(const char *table, const segment_weights *weights)
{
    const int n_classes = weights->config.n_channels;

    for (size_t i = 0; i < weights->names->n_labels; i++)
        if (weights->names->labels[i].value >= n_classes)
            return IO_FAIL(IO_ERR_MISMATCH,
                           "%s: names label %d (%s), but the network has %d classes (0 to %d); give the table of these weights", table,
                           weights->names->labels[i].value, weights->names->labels[i].name, n_classes, n_classes - 1);
    return IO_OK;
}

static io_status read_names(const job_segment_options *options, bool is_first, segment_weights *weights)
{
    const int n_classes = weights->config.n_channels;
    char *table = NULL;
    io_status status = find_table(options, &table);

    if (status == IO_OK) status = table ? io_labels_read(table, &weights->names) : io_labels_default(n_classes, &weights->names);
    if (status == IO_OK) status = check_names(table, weights);
    if (status == IO_OK && is_first && table) warn_of_missing_names(table, weights->names, n_classes);
    if (status == IO_OK) status = io_labels_xml(weights->names, &weights->names_xml);
    io_free(&table);
    return status;
}

/* Everything that can change a byte of an output, and nothing that cannot: ranks, how cases are cut, threads and batch stay out. */
static io_status print_options(const job_segment_options *options, segment_weights *weights)
{
    char pipe_text[160], names_sha256[65];

    pipe_options_text(&options->pipe, pipe_text);
    IO_TRY(io_hash_bytes(weights->names_xml, strlen(weights->names_xml), names_sha256));
    snprintf(weights->options_text, sizeof weights->options_text, "%s precision=%s names=%.16s", pipe_text,
             job_precision_name(options->precision), names_sha256);
    return IO_OK;
}

/* Opening a file checks none of its tensors' bytes: the container's checksums are compared beside the hash. */
static io_status hash_file(const io_tensors *tensors, char sha256[65])
{
    IO_TRY(io_hash_file(io_tensors_path(tensors), sha256));
    return io_tensors_check(tensors);
}

static void *hash_files(void *argument)
{
    segment_weights *weights = argument;

    weights->hash_status = hash_file(weights->sam, weights->sam_sha256);
    if (weights->hash_status == IO_OK && weights->adapter) weights->hash_status = hash_file(weights->adapter, weights->adapter_sha256);
    if (weights->hash_status != IO_OK) snprintf(weights->hash_text, sizeof weights->hash_text, "%s", io_last_error_text());
    return NULL;
}

io_status job_segment_weights_open(const job_comm *world, const job_segment_options *options, segment_weights *weights)
{
    io_status status = open_files(options, weights);

    if (status == IO_OK) status = read_names(options, world->rank == 0, weights);
    if (status == IO_OK) status = print_options(options, weights);
    if (!job_all_ok(world, &status, NULL)) return status;
    if (world->rank != 0) return IO_OK;
    weights->is_hashing = pthread_create(&weights->hasher, NULL, hash_files, weights) == 0;
    if (!weights->is_hashing) hash_files(weights);
    return IO_OK;
}

io_status job_segment_device_open(const job_segment_options *options, const job_device_share *share, segment_weights *weights)
{
    return model_device_open(options->device, share->local_rank, options->precision, share->n_threads, &weights->device);
}

io_status job_segment_weights_pack(segment_weights *weights, int label_bytes, const model_slicing_room *room)
{
    const bool has_flow = model_flow_is_offered(weights->device);
    const size_t flow_bytes = has_flow ? model_flow_estimate_bytes(room, label_bytes, model_flow_batch(weights->device)) : 0;

    IO_TRY(model_sam_check_memory(weights->device, &weights->config, flow_bytes));
    IO_TRY(model_sam_create(weights->device, &weights->config, weights->sam, weights->adapter, &weights->network));
    return has_flow ? model_flow_create(weights->device, weights->network, label_bytes, room, &weights->flow) : IO_OK;
}

io_status job_segment_weights_identify(const job_comm *world, segment_weights *weights)
{
    io_status status = IO_OK;
    const char *name;

    if (weights->is_hashing) pthread_join(weights->hasher, NULL);
    weights->is_hashing = false;
    if (world->rank == 0 && weights->hash_status != IO_OK) status = IO_FAIL(weights->hash_status, "%s", weights->hash_text);
    if (!job_all_ok(world, &status, NULL)) return status;
    job_comm_bcast(world, weights->sam_sha256, sizeof weights->sam_sha256, 0);
    job_comm_bcast(world, weights->adapter_sha256, sizeof weights->adapter_sha256, 0);
    name = job_weights_published_name(weights->sam_sha256);
    if (world->rank == 0)
        io_log(IO_LOG_INFO, "weights: %s (SHA-256 %.12s%s%s)", io_tensors_path(weights->sam), weights->sam_sha256, name ? ", Meta's " : "",
               name ? name : "");
    return IO_OK;
}

void job_segment_weights_free(segment_weights *weights)
{
    if (weights->is_hashing) pthread_join(weights->hasher, NULL);
    weights->is_hashing = false;
    model_flow_free(&weights->flow);
    model_sam_free(&weights->network);
    model_device_free(&weights->device);
    io_labels_free(&weights->names);
    io_free(&weights->names_xml);
    io_tensors_free(&weights->adapter);
    io_tensors_free(&weights->sam);
}
