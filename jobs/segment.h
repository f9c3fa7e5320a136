/* The inside of `samed segment`: what the phases share. Phases, each in a file of its own:
 *
 *   segment.c          order of the phases, rank 0's folder and lock
 *   segment_cases.c    which cases: folders, lists, --shard, --only
 *   segment_plan.c     header plan, what is already done, how cases are cut into parts
 *   segment_dryrun.c   --dry-run
 *   segment_weights.c  weights, network, labels, what identifies them
 *   segment_reader.c   two threads: parts -> opened cases -> batches of slices, bounded
 *   segment_loop.c     main thread: the network, the queue
 *   segment_gather.c   main thread: the parts of a case, from whatever rank, come together at its home
 *   segment_writer.c   thread: label maps -> files
 *   segment_report.c   rank 0: failed.tsv, tables, run.json, JSON lines, the done marker
 *   segment_tables.c   rank 0: cases.tsv and running.tsv, from which samed status tells where a run stands
 *
 *   reader --batches--> main (MPI, device) --labels--> gather, here or at the case's home --> writer --outcomes--> main -> rank 0
 */
#ifndef JOBS_SEGMENT_H
#define JOBS_SEGMENT_H

#include <pthread.h>
#include <time.h>
#include <stdatomic.h>

#include "io/labels.h"
#include "io/manifest.h"
#include "io/nifti.h"
#include "io/tensors.h"
#include "jobs/channel.h"
#include "jobs/comm.h"
#include "jobs/devices.h"
#include "jobs/lock.h"
#include "jobs/options.h"
#include "jobs/post.h"
#include "jobs/progress.h"
#include "jobs/queue.h"
#include "jobs/scratch.h"
#include "model/flow.h"
#include "model/sam.h"
#include "pipeline/case.h"

enum {
    SEGMENT_OPTIONS_BYTES = 384,
    SEGMENT_MAX_WARNINGS = 8, /* texts about one case */
    SEGMENT_AHEAD = 8, /* slices made ahead, at least two batches: long enough to hide the opening of the next case; 1 MB each at 512 */
    SEGMENT_MAX_VOLUMES = 3, /* in a rank's memory: read ahead, under way, just let go */
    SEGMENT_MAX_MAPS = 5, /* label maps: under way, two that wait for parts of others, being written, and as much in parts on their way */
    SEGMENT_RAW_BATCHES = MODEL_LANES + 2 /* pinned: one in each lane of the device, one waiting, one being filled */
};

/* The cases of a run, the same on all ranks. */
typedef struct segment_plan {
    io_manifest *manifest;
    int64_t *is_left_out;  /* [n_cases] 1 when --only does not name it */
    char *old_failures;    /* rank 0: lines of earlier failed.tsv that this run leaves as they are; NULL for none */
    int64_t *known_slices; /* [n_cases] of cases left out, as earlier runs counted, 0 when not known; NULL without --only, on other ranks */
    int64_t *n_slices; /* [n_cases] by the headers; 1 for a case that is left out or whose header cannot be read: its failure is found when
                          it is its turn */
    int64_t *n_voxels; /* [n_cases] 0 without a header, as the next */
    int64_t *image_bytes;                /* [n_cases] of the voxels in their own type */
    int64_t *sides;                      /* [n_cases] pixels of a slice's longer side */
    struct timespec redo_before;         /* a record older than this does not count; 0 without --overwrite-before */
    int64_t *is_done;                    /* [n_cases] 1 when finished by an earlier run */
    int64_t *to_do;                      /* [n_cases] slices still to be done, 0 for finished cases */
    int64_t n_done, n_left, slices_left; /* of those not left out */
} segment_plan;

typedef struct segment_weights {
    io_tensors *sam, *adapter;
    model_config config;
    model_device *device;
    model_sam *network;
    model_flow *flow; /* where the device makes the images itself; else NULL */
    io_labels *names;
    char *names_xml;
    char sam_sha256[65], adapter_sha256[65];
    char options_text[SEGMENT_OPTIONS_BYTES];
    pthread_t hasher;
    bool is_hashing;
    io_status hash_status; /* of the thread, with its text */
    char hash_text[JOB_TEXT_BYTES];
} segment_weights;

/* One part of a case on its way through a rank; at the case's home, in the end the whole case. Handed from thread to thread; one owner at a
 * time. */
typedef struct segment_work {
    job_part part;
    int64_t place;   /* of it in the queue */
    int home;        /* the rank that got the case's first part */
    pipe_case *body; /* NULL when opening failed */
    io_status status;
    const char *stage;
    char text[JOB_TEXT_BYTES];
    atomic_bool is_dropped;                   /* set by the main thread: the reader makes no more slices of it */
    pipe_labelmap *map;                       /* at home */
    uint8_t *share;                           /* elsewhere: [part.n][rows][cols] of label_bytes */
    size_t slice_bytes;                       /* of the labels of a slice */
    int64_t n_reported;                       /* slices of this part that rank 0 knows of */
    char warnings[SEGMENT_MAX_WARNINGS][160]; /* at home: [n_warnings] */
    int n_warnings;
    double opening_s;                          /* from the file to a plan of its slices */
    double started, zoom_s, model_s, gather_s; /* seconds; zoom_s is the reader's until the last batch */
} segment_work;

typedef enum segment_item_kind { SEGMENT_OPENED, SEGMENT_BATCH, SEGMENT_END } segment_item_kind;

/* What the reader hands to the main thread, in order: one OPENED, BATCHes if it opened well, one END. */
typedef struct segment_item {
    segment_item_kind kind;
    segment_work *work;
    int64_t first; /* BATCH: index in the part of the batch's first slice */
    int n;         /* slices */
    void *slices;  /* images [n][S][S] f32, or raw [batch][rows][cols], which zeros fill up; goes back to the reader */
} segment_item;

typedef struct segment_reader segment_reader;
typedef struct segment_gather segment_gather;
typedef struct segment_writer segment_writer;
typedef struct segment_report segment_report;
typedef struct segment_tables segment_tables;
typedef struct segment_dry segment_dry;

/* One rank's run. */
typedef struct segment_run {
    const job_segment_options *options;
    job_comm world;
    job_device_share share;
    segment_plan plan;
    segment_weights weights;
    pipe_outputs outputs;
    job_queue *queue;
    job_post *post;
    char *place;            /* where this run's own files are: the output folder, or its shard's */
    job_scratch *scratch;   /* NULL without --scratch */
    job_lock *lock;         /* rank 0 */
    segment_report *report; /* rank 0 */
    segment_reader *reader;
    segment_gather *gather;
    segment_writer *writer;
    bool has_told_stop, is_polling;
    int batch;                   /* slices of one call */
    model_slicing_room room;     /* of the largest slices that the headers announce, in the type that the device takes */
    double started, first_slice; /* seconds, monotonic; first_slice when the network got its first slice, 0 before */
} segment_run;

/* segment_cases.c */
/* Collective. Rank 0 looks, all ranks know: fills in manifest, is_left_out, old_failures. */
io_status job_segment_cases_find(const job_comm *world, const job_segment_options *options, segment_plan *plan);

/* segment_plan.c */
/* Collective. Rank 0 finds the cases, every rank reads some headers; in a dry run rank 0 reads all, and shows each (dry is NULL elsewhere).
 */
io_status job_segment_plan_create(const job_comm *world, const job_segment_options *options, segment_dry *dry, segment_plan *out);
void job_segment_plan_free(segment_plan *plan);
/* Collective. Finds finished cases (all ranks share the reading). IO_ERR_STOPPED after a signal to any rank. */
io_status job_segment_plan_check_done(const job_comm *world, const pipe_outputs *outputs, segment_plan *plan);
/* Collective. --overwrite-before: the time of this file, as rank 0 sees it, becomes the plan's. */
io_status job_segment_plan_redo_before(const job_comm *world, const char *file, segment_plan *plan);
/* Collective. Is there any record that may count, so that checking is needed? */
bool job_segment_plan_has_records(const job_comm *world, const pipe_outputs *outputs, const segment_plan *plan);
/* Slices that a case of this grid has, once it is turned as asked. */
int64_t job_segment_count_slices(const io_grid *grid, pipe_orient orient);
/* How cases are cut for so many ranks, whose devices take batch slices at a time and slice_s seconds for each. */
job_cutting job_segment_cutting(const job_segment_options *options, int n_ranks, int batch, double slice_s);
/* About what a slice takes on a rank of CPUs or a GPU, in seconds: enough to say how small the parts of cases may become. */
double job_segment_guess_slice_s(const model_config *config, model_device_kind kind, model_type precision, int n_threads);
/* What the largest slices of all cases take. */
io_status job_segment_room(const segment_plan *plan, const pipe_options *options, model_slicing_room *out);
/* The case whose slices have the most pixels. */
size_t job_segment_largest_case(const segment_plan *plan);
/* Batches of slices that are made ahead. */
int job_segment_batches_ahead(int batch);
/* Bytes of the machine's memory that a rank needs at most: the network on CPUs, the batches made ahead, its cases. */
double job_segment_memory_estimate(const segment_run *run, const model_config *config, model_device_kind kind);
/* Bytes of a GPU's memory that a rank needs, beside what CUDA itself takes; 0 on CPUs. */
double job_segment_device_estimate(const segment_run *run, const model_config *config, model_device_kind kind);

/* segment_dryrun.c: rank 0. What can be wrong beside the cases is found first; then each case as its header is read; then the plan. */
io_status job_segment_dry_begin(const segment_run *run, segment_dry **out);
/* info NULL: the header cannot be read, io_last_error tells why. */
void job_segment_dry_case(segment_dry *dry, const io_case *c, const io_nifti_info *info);
/* *exit_code is JOB_EXIT_CASES when some cases would fail, JOB_EXIT_NOTHING when all would. */
io_status job_segment_dry_end(segment_dry *dry, int *exit_code);
void job_segment_dry_free(segment_dry **dry);

/* segment_weights.c */
/* Collective. Opens the files, infers the network, reads the labels and starts the hash thread of rank 0. */
io_status job_segment_weights_open(const job_comm *world, const job_segment_options *options, segment_weights *weights);
/* Opens the rank's device: it decides who makes the images. */
io_status job_segment_device_open(const job_segment_options *options, const job_device_share *share, segment_weights *weights);
/* Packs the network onto the device and takes all the memory there that the run will need; label_bytes of what comes back. */
io_status job_segment_weights_pack(segment_weights *weights, int label_bytes, const model_slicing_room *room);
/* Collective. Waits for the hashes and makes them known to all ranks. */
io_status job_segment_weights_identify(const job_comm *world, segment_weights *weights);
void job_segment_weights_free(segment_weights *weights);

/* segment_reader.c */
io_status job_segment_reader_start(const segment_run *run, segment_reader **out);
/* A place of the queue. Never waits: the reader has room for the part under way and the next. */
void job_segment_reader_add(segment_reader *reader, int64_t place);
/* The next item; false when none came within timeout_ms. */
bool job_segment_reader_take(segment_reader *reader, segment_item *item, int timeout_ms);
void job_segment_reader_return(segment_reader *reader, void *slices);
void job_segment_reader_free(segment_reader **reader);
void job_segment_work_free(segment_work **work);

/* segment_gather.c */
io_status job_segment_gather_create(segment_run *run, segment_gather **out);
/* Collective over all ranks. */
void job_segment_gather_free(segment_gather **gather);
/* At home, before the first part's first slice: takes the work over; the caller goes on with it until job_segment_gather_end. */
void job_segment_gather_begin(segment_gather *gather, segment_work *work);
/* A part of this rank has ended, well or not (work->status, stage, text): at home its labels are in the map, elsewhere they are on their
 * way from here. Takes the work over. */
void job_segment_gather_end(segment_gather *gather, segment_work *work);
/* Takes what arrived. Cases that are whole go to the writer when it has room; those with a part that failed are reported. */
void job_segment_gather_poll(segment_gather *gather);
/* May this rank ask for another part? Not while cases wait here for parts of others or the writer, or too much is on its way from here. */
bool job_segment_gather_has_room(const segment_gather *gather);
/* Places of the queue from n_handed on are nobody's. */
void job_segment_gather_close(segment_gather *gather, int64_t n_handed);
/* Does no case wait here, and has everything arrived that was sent from here? */
bool job_segment_gather_is_done(const segment_gather *gather);

/* segment_writer.c */
io_status job_segment_writer_start(const segment_run *run, segment_writer **out);
/* False while a case is being written. */
bool job_segment_writer_has_room(segment_writer *writer);
/* Takes the work over. */
void job_segment_writer_add(segment_writer *writer, segment_work *work);
/* A finished case, if there is one. */
bool job_segment_writer_take(segment_writer *writer, job_outcome *outcome);
/* No more cases will come; true once all are written. */
bool job_segment_writer_finish(segment_writer *writer);
void job_segment_writer_free(segment_writer **writer);

/* segment_loop.c */
/* The reader begins with this rank's first part: while the weights are packed. */
void job_segment_loop_begin(segment_run *run);
/* Collective. All parts of this rank. */
io_status job_segment_loop(segment_run *run);
/* Between slices and while waiting: news from the writer, the queue's messages, progress, signals. */
void job_segment_poll(void *run);

/* segment_report.c */
io_status job_segment_report_create(const segment_run *run, segment_report **out);
void job_segment_report_free(segment_report **report);
void job_segment_report_progressed(void *report, int64_t n_slices);
void job_segment_report_ended(void *report, const job_outcome *outcome);
void job_segment_report_handed(void *report, const job_part *part, int rank);
void job_segment_report_show(segment_report *report);
/* Takes the progress bar away before a line is printed. */
void job_segment_report_clear(segment_report *report);
/* From another thread, when the process will be killed before the end comes: what an orderly stop leaves. */
void job_segment_report_hurry(segment_report *report);
/* Writes everything that comes at the end; *exit_code is the run's. */
io_status job_segment_report_finish(segment_report *report, int *exit_code);

/* segment_tables.c */
/* Writes cases.tsv: what this run has before it. */
io_status job_segment_tables_create(const segment_run *run, segment_tables **out);
void job_segment_tables_free(segment_tables **tables);
void job_segment_tables_handed(segment_tables *tables, int64_t case_index, int home);
void job_segment_tables_ended(segment_tables *tables, int64_t case_index);
/* Writes running.tsv anew if something changed and the last time is a while ago. Best effort: it says so when it fails. */
void job_segment_tables_show(segment_tables *tables);
/* Nothing is under way any more. */
io_status job_segment_tables_finish(segment_tables *tables);

#endif
