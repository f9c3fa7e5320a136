/* Every convention's numbers for one organ of one case; see metrics.h and the table in pipeline/README.md.
 *
 * Per organ: the union box of both masks as bits, the surfaces, and distances both ways at most three times: surface voxels with the
 * spacing (medpy, monai, reloaded), surface voxels with spacing 1 (samed), surfels with the spacing (deepmind). */
#include "pipeline/metrics.h"

#include <math.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/metrics_boxes.h"
#include "pipeline/metrics_search.h"

static const char *const names[PIPE_N_CONVENTIONS] = {"medpy", "monai", "reloaded", "deepmind", "samed"};

enum { VOXEL_CONVENTIONS = 1 << PIPE_MEDPY | 1 << PIPE_MONAI | 1 << PIPE_RELOADED };

/* A nanometre to a kilometre: areas and squared distances of anything between stay far from the ends of double. */
static const double MIN_SPACING = 1e-6, MAX_SPACING = 1e6;

const char *pipe_convention_name(pipe_convention convention)
{
    return convention < PIPE_N_CONVENTIONS ? names[convention] : "unknown";
}

io_status pipe_convention_parse(const char *name, pipe_convention *out)
{
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++) {
        if (strcmp(name, names[c]) != 0) continue;
        *out = (pipe_convention)c;
        return IO_OK;
    }
    return IO_FAIL(IO_ERR_ARGUMENT, "expected the convention medpy, monai, reloaded, deepmind or samed, found '%s'", name);
}

/* The masks of a scratch, all of one shape. */
enum { REFERENCE, PREDICTION, REFERENCE_SURFACE, PREDICTION_SURFACE, REST, N_MASKS };

struct pipe_metrics_scratch {
    uint64_t *words; /* [N_MASKS][shape.n_words] */
    size_t capacity; /* words */
    pipe_bits shape;
    pipe_search *search;
    pipe_tally tallies[2]; /* reference to prediction, prediction to reference */
    pipe_near near, near_unit;
    pipe_surfels surfels;
    double surfel_spacing[3]; /* for which surfels was built; 0 at first */
    bool is_planar;           /* likewise */
};

io_status pipe_metrics_scratch_create(pipe_metrics_scratch **out)
{
    pipe_metrics_scratch *scratch = NULL;
    io_status status = IO_OK;

    IO_TRY(io_alloc(1, sizeof *scratch, (void **)&scratch));
    IO_TRY_GOTO(status, done, pipe_search_create(&scratch->search));
    pipe_near_build((const double[3]){1, 1, 1}, &scratch->near_unit);
    *out = scratch;
    scratch = NULL;
done:
    pipe_metrics_scratch_free(&scratch);
    return status;
}

void pipe_metrics_scratch_free(pipe_metrics_scratch **scratch)
{
    if (*scratch) {
        io_free(&(*scratch)->words);
        pipe_search_free(&(*scratch)->search);
        for (int t = 0; t < 2; t++) pipe_tally_free(&(*scratch)->tallies[t]);
    }
    io_free(scratch);
}

static uint64_t *get_mask(const pipe_metrics_scratch *scratch, int mask)
{
    return scratch->words + (size_t)mask * (size_t)scratch->shape.n_words;
}

/* The shape of a value's box with one voxel more at the upper ends, where the last surfels lie; all masks zero. */
static io_status clear_masks(pipe_metrics_scratch *scratch, const pipe_label_box *box, bool is_planar)
{
    const int reach[2] = {PIPE_NEAR_REACH, PIPE_NEAR_REACH};
    int64_t dims[3];
    size_t n_words;

    for (int a = 0; a < 3; a++) dims[a] = box->high[a] - box->low[a] + (is_planar && a == 2 ? 1 : 2);
    IO_TRY(pipe_bits_plan(dims, reach, is_planar, &scratch->shape));
    IO_TRY(io_size_mul((size_t)scratch->shape.n_words, N_MASKS, &n_words));
    if (n_words > scratch->capacity) {
        scratch->capacity = 0;
        IO_TRY(io_grow((void **)&scratch->words, 0, n_words, sizeof *scratch->words));
        scratch->capacity = n_words;
    }
    memset(scratch->words, 0, n_words * sizeof *scratch->words);
    return IO_OK;
}

static void cut_mask(const pipe_label_boxes *boxes, int value, int map, pipe_metrics_scratch *scratch)
{
    const pipe_label_box *box = &boxes->boxes[value];
    const pipe_bits *shape = &scratch->shape;
    const int bytes = boxes->label_bytes[map];
    uint64_t *mask = get_mask(scratch, map);

    for (int64_t k = box->low[2]; k <= box->high[2]; k++) {
        for (int64_t j = box->low[1]; j <= box->high[1]; j++) {
            const char *row = (const char *)boxes->labels[map] + ((k * boxes->dims[1] + j) * boxes->dims[0] + box->low[0]) * bytes;
            pipe_bits_pack(row, bytes, value, box->high[0] - box->low[0] + 1,
                           mask + pipe_bits_row(shape, j - box->low[1], k - box->low[2]));
        }
    }
}

/* Distances both ways between the surfaces in the scratch. */
static io_status search_both_ways(pipe_metrics_scratch *scratch, const pipe_near *near, const pipe_surfels *surfels)
{
    for (int way = 0; way < 2; way++) {
        const pipe_search_task task = {.shape = &scratch->shape,
                                       .near = near,
                                       .query = get_mask(scratch, REFERENCE_SURFACE + way),
                                       .target = get_mask(scratch, REFERENCE_SURFACE + 1 - way),
                                       .mask = surfels ? get_mask(scratch, REFERENCE + way) : NULL,
                                       .surfels = surfels,
                                       .rest = get_mask(scratch, REST)};
        IO_TRY(pipe_search_run(scratch->search, &task, &scratch->tallies[way]));
    }
    return IO_OK;
}

static double pool_mean(const pipe_tally *a, const pipe_tally *b)
{
    return (pipe_tally_sum(a) + pipe_tally_sum(b)) / (double)(pipe_tally_count(a) + pipe_tally_count(b));
}

static double average_means(const pipe_tally *a, const pipe_tally *b)
{
    return (pipe_tally_sum(a) / (double)pipe_tally_count(a) + pipe_tally_sum(b) / (double)pipe_tally_count(b)) / 2;
}

static double find_largest(const pipe_tally *a, const pipe_tally *b)
{
    return fmax(pipe_tally_largest(a), pipe_tally_largest(b));
}

/* MedPy 0.5.2 pools both lists in assd; up to 0.5.1 it gave the mean of both means, which is masd here. */
static void fill_medpy(const pipe_tally *a, const pipe_tally *b, const pipe_metrics_options *options, pipe_surface *out)
{
    out->hd = find_largest(a, b);
    out->hd95 = pipe_tally_percentile(a, b, options->percentile);
    out->assd = pool_mean(a, b);
    out->masd = average_means(a, b);
}

/* MONAI keeps distances in float32; only where that can move a value (ranks, thresholds) is it followed. percentile 0 means the largest
 * (`if not percentile` in hausdorff_distance.py). */
static void fill_monai(const pipe_tally *a, const pipe_tally *b, const pipe_metrics_options *options, pipe_surface *out)
{
    const double n = (double)(pipe_tally_count(a) + pipe_tally_count(b));
    const double q = options->percentile;

    out->hd = find_largest(a, b);
    out->hd95 = q == 0 ? out->hd : fmax(pipe_tally_percentile_float(a, q), pipe_tally_percentile_float(b, q));
    out->assd = pool_mean(a, b);
    for (int t = 0; t < options->n_tolerances; t++) {
        const double limit = options->tolerances_mm[t];
        out->nsd[t] = (double)(pipe_tally_within_float(a, limit) + pipe_tally_within_float(b, limit)) / n;
    }
}

static void fill_reloaded(const pipe_tally *a, const pipe_tally *b, const pipe_metrics_options *options, pipe_surface *out)
{
    const double n = (double)(pipe_tally_count(a) + pipe_tally_count(b));

    out->hd = find_largest(a, b);
    out->hd95 = fmax(pipe_tally_percentile(a, NULL, options->percentile), pipe_tally_percentile(b, NULL, options->percentile));
    out->assd = pool_mean(a, b);
    out->masd = average_means(a, b);
    for (int t = 0; t < options->n_tolerances; t++) {
        const double limit = options->tolerances_mm[t];
        out->nsd[t] = (double)(pipe_tally_within(a, limit) + pipe_tally_within(b, limit)) / n;
    }
}

/* masd is the mean of the library's two directed averages; assd, which it does not have, pools both surfaces by area. */
static void fill_deepmind(const pipe_tally *a, const pipe_tally *b, const pipe_metrics_options *options, pipe_surface *out)
{
    const double area_a = pipe_tally_area(a), area_b = pipe_tally_area(b);
    const double sum_a = pipe_tally_area_sum(a), sum_b = pipe_tally_area_sum(b);

    out->hd = fmax(pipe_tally_area_percentile(a, 100), pipe_tally_area_percentile(b, 100));
    out->hd95 = fmax(pipe_tally_area_percentile(a, options->percentile), pipe_tally_area_percentile(b, options->percentile));
    out->assd = (sum_a + sum_b) / (area_a + area_b);
    out->masd = (sum_a / area_a + sum_b / area_b) / 2;
    for (int t = 0; t < options->n_tolerances; t++) {
        const double limit = options->tolerances_mm[t];
        out->nsd[t] = (pipe_tally_area_within(a, limit) + pipe_tally_area_within(b, limit)) / (area_a + area_b);
    }
}

static void find_surfaces(pipe_metrics_scratch *scratch)
{
    pipe_bits_surface(&scratch->shape, get_mask(scratch, REFERENCE), get_mask(scratch, REFERENCE_SURFACE));
    pipe_bits_surface(&scratch->shape, get_mask(scratch, PREDICTION), get_mask(scratch, PREDICTION_SURFACE));
}

static io_status measure_voxels(pipe_metrics_scratch *scratch, const pipe_metrics_options *options, pipe_metrics *out)
{
    const pipe_tally *a = &scratch->tallies[0], *b = &scratch->tallies[1];

    find_surfaces(scratch);
    if (options->conventions & VOXEL_CONVENTIONS) {
        IO_TRY(search_both_ways(scratch, &scratch->near, NULL));
        if (out->is_computed[PIPE_MEDPY]) fill_medpy(a, b, options, &out->surface[PIPE_MEDPY]);
        if (out->is_computed[PIPE_MONAI]) fill_monai(a, b, options, &out->surface[PIPE_MONAI]);
        if (out->is_computed[PIPE_RELOADED]) fill_reloaded(a, b, options, &out->surface[PIPE_RELOADED]);
    }
    if (out->is_computed[PIPE_SAMED]) {
        IO_TRY(search_both_ways(scratch, &scratch->near_unit, NULL));
        out->surface[PIPE_SAMED].hd95 = pipe_tally_percentile(a, b, options->percentile);
    }
    return IO_OK;
}

static io_status measure_surfels(pipe_metrics_scratch *scratch, const pipe_metrics_options *options, pipe_metrics *out)
{
    if (memcmp(scratch->surfel_spacing, options->spacing_mm, sizeof scratch->surfel_spacing) != 0 ||
        scratch->is_planar != options->is_planar) {
        pipe_surfels_build(options->spacing_mm, options->is_planar, &scratch->surfels);
        memcpy(scratch->surfel_spacing, options->spacing_mm, sizeof scratch->surfel_spacing);
        scratch->is_planar = options->is_planar;
    }
    pipe_bits_surfels(&scratch->shape, get_mask(scratch, REFERENCE), get_mask(scratch, REFERENCE_SURFACE));
    pipe_bits_surfels(&scratch->shape, get_mask(scratch, PREDICTION), get_mask(scratch, PREDICTION_SURFACE));
    IO_TRY(search_both_ways(scratch, &scratch->near, &scratch->surfels));
    fill_deepmind(&scratch->tallies[0], &scratch->tallies[1], options, &out->surface[PIPE_DEEPMIND]);
    return IO_OK;
}

static io_status check_options(const pipe_label_boxes *boxes, int value, const pipe_metrics_options *options)
{
    if (value < 1 || value >= boxes->n_values) {
        return IO_FAIL(IO_ERR_RANGE, "metrics of label %d were asked for, expected 1 to %d", value, boxes->n_values - 1);
    }
    for (int a = 0; a < 3; a++) {
        if (!(options->spacing_mm[a] >= MIN_SPACING && options->spacing_mm[a] <= MAX_SPACING)) {
            return IO_FAIL(IO_ERR_RANGE, "a spacing of %g mm along axis %d, expected %g to %g", options->spacing_mm[a], a, MIN_SPACING,
                           MAX_SPACING);
        }
    }
    if (!(options->percentile >= 0 && options->percentile <= 100)) {
        return IO_FAIL(IO_ERR_RANGE, "percentile %g of the surface distances, expected 0 to 100", options->percentile);
    }
    if (options->n_tolerances < 0 || options->n_tolerances > PIPE_MAX_TOLERANCES) {
        return IO_FAIL(IO_ERR_RANGE, "%d tolerances, expected at most %d", options->n_tolerances, PIPE_MAX_TOLERANCES);
    }
    if (options->is_planar && boxes->dims[2] != 1) {
        return IO_FAIL(IO_ERR_ARGUMENT, "2-D metrics of a map with %lld slices, expected 1", (long long)boxes->dims[2]);
    }
    return IO_OK;
}

static void clear_metrics(const pipe_metrics_options *options, pipe_metrics *out)
{
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++) {
        out->is_computed[c] = (options->conventions >> c & 1) != 0;
        out->surface[c] = (pipe_surface){.hd = NAN, .hd95 = NAN, .assd = NAN, .masd = NAN};
        for (int t = 0; t < PIPE_MAX_TOLERANCES; t++) out->surface[c].nsd[t] = NAN;
    }
}

io_status pipe_metrics_measure(const pipe_label_boxes *boxes, int value, const pipe_metrics_options *options, pipe_metrics_scratch *scratch,
                               pipe_metrics *out)
{
    IO_TRY(check_options(boxes, value, options));
    clear_metrics(options, out);
    out->overlap = pipe_label_boxes_overlap(boxes, value);
    if (!options->conventions || out->overlap.n_reference == 0 || out->overlap.n_prediction == 0) return IO_OK;
    IO_TRY(clear_masks(scratch, &boxes->boxes[value], options->is_planar));
    cut_mask(boxes, value, REFERENCE, scratch);
    cut_mask(boxes, value, PREDICTION, scratch);
    if (memcmp(scratch->near.spacing, options->spacing_mm, sizeof scratch->near.spacing) != 0) {
        pipe_near_build(options->spacing_mm, &scratch->near);
    }
    if (options->conventions & (VOXEL_CONVENTIONS | 1 << PIPE_SAMED)) IO_TRY(measure_voxels(scratch, options, out));
    if (out->is_computed[PIPE_DEEPMIND]) IO_TRY(measure_surfels(scratch, options, out));
    return IO_OK;
}

static double divide(double a, double b)
{
    return b == 0 ? NAN : a / b;
}

double pipe_overlap_dice(const pipe_overlap *overlap)
{
    return divide(2.0 * (double)overlap->n_both, (double)(overlap->n_reference + overlap->n_prediction));
}

double pipe_overlap_jaccard(const pipe_overlap *overlap)
{
    return divide((double)overlap->n_both, (double)(overlap->n_reference + overlap->n_prediction - overlap->n_both));
}

double pipe_overlap_precision(const pipe_overlap *overlap)
{
    return divide((double)overlap->n_both, (double)overlap->n_prediction);
}

double pipe_overlap_recall(const pipe_overlap *overlap)
{
    return divide((double)overlap->n_both, (double)overlap->n_reference);
}

double pipe_overlap_volume_difference(const pipe_overlap *overlap)
{
    return divide((double)(overlap->n_prediction - overlap->n_reference), (double)overlap->n_reference);
}
