/* Measures pairs of masks from standard input with pipeline/metrics.h, for test_metrics_peers.py: one line of numbers per pair.
 *
 * A pair: int32 nx ny nz is_planar n_tolerances, float64 spacing[3] percentile tolerances[n_tolerances], uint8 reference[nz][ny][nx],
 * uint8 prediction[nz][ny][nx]; value 1 is measured. A line: n_reference n_prediction n_both dsc jaccard precision recall, then for every
 * convention hd hd95 assd masd nsd[n_tolerances]. */
#include "tests/check.h"

#include "pipeline/metrics.h"

typedef struct pair {
    int32_t dims[3], is_planar, n_tolerances;
    pipe_metrics_options options;
    uint8_t *labels; /* [2][nz][ny][nx] */
} pair;

static int read_pair(pair *p)
{
    size_t n;

    if (fread(p->dims, sizeof p->dims[0], 5, stdin) != 5) return 0;
    if (p->n_tolerances < 0 || p->n_tolerances > PIPE_MAX_TOLERANCES) return 0;
    p->options = (pipe_metrics_options){
        .conventions = (1 << PIPE_N_CONVENTIONS) - 1, .n_tolerances = p->n_tolerances, .is_planar = p->is_planar != 0};
    if (fread(p->options.spacing_mm, sizeof(double), 3, stdin) != 3) return 0;
    if (fread(&p->options.percentile, sizeof(double), 1, stdin) != 1) return 0;
    if (fread(p->options.tolerances_mm, sizeof(double), (size_t)p->n_tolerances, stdin) != (size_t)p->n_tolerances) return 0;
    n = 2 * (size_t)p->dims[0] * (size_t)p->dims[1] * (size_t)p->dims[2];
    p->labels = malloc(n);
    return p->labels && fread(p->labels, 1, n, stdin) == n;
}

static void print_metrics(const pipe_metrics *m, int n_tolerances)
{
    printf("%lld %lld %lld", (long long)m->overlap.n_reference, (long long)m->overlap.n_prediction, (long long)m->overlap.n_both);
    printf(" %.17g %.17g %.17g %.17g", pipe_overlap_dice(&m->overlap), pipe_overlap_jaccard(&m->overlap),
           pipe_overlap_precision(&m->overlap), pipe_overlap_recall(&m->overlap));
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++) {
        const pipe_surface *s = &m->surface[c];
        printf(" %.17g %.17g %.17g %.17g", s->hd, s->hd95, s->assd, s->masd);
        for (int t = 0; t < n_tolerances; t++) printf(" %.17g", s->nsd[t]);
    }
    printf("\n");
}

static io_status measure_pair(const pair *p, pipe_metrics_scratch *scratch)
{
    const int64_t dims[3] = {p->dims[0], p->dims[1], p->dims[2]};
    const uint8_t *prediction = p->labels + dims[0] * dims[1] * dims[2];
    pipe_label_boxes *boxes = NULL;
    pipe_metrics metrics;
    io_status status;

    IO_TRY(pipe_label_boxes_create(dims, p->labels, 1, prediction, 1, 2, &boxes));
    status = pipe_metrics_measure(boxes, 1, &p->options, scratch, &metrics);
    if (status == IO_OK) print_metrics(&metrics, p->n_tolerances);
    pipe_label_boxes_free(&boxes);
    return status;
}

int main(void)
{
    pipe_metrics_scratch *scratch = NULL;
    io_status status = pipe_metrics_scratch_create(&scratch);
    pair p = {.labels = NULL};

    while (status == IO_OK && read_pair(&p)) {
        status = measure_pair(&p, scratch);
        free(p.labels);
        p.labels = NULL;
    }
    free(p.labels);
    pipe_metrics_scratch_free(&scratch);
    if (status != IO_OK) fprintf(stderr, "%s\n", io_last_error());
    return status == IO_OK ? 0 : 1;
}
