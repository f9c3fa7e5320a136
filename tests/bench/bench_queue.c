/* How well the queue and the cutting of cases use many ranks, by simulation (tests/jobs/simulation.h): the table of jobs/README.md.
 * usage: bench_queue [MESSAGE_US]: microseconds that rank 0 spends on one message (bench_post measures it). */
#include <stdio.h>

#include "tests/jobs/simulation.h"

static int print_row(int n_cases, int n_ranks, double slice_s, double message_s)
{
    const simulation what = {.n_ranks = n_ranks, .n_cases = n_cases, .slice_s = slice_s, .seed = 1};
    simulated found = {0};
    double per_second;

    if (!simulate(&what, &found)) return 0;
    per_second = (double)found.n_messages / found.makespan_s;
    printf("| %d | %d | %lld | %lld | %.4g | %.4g | %.1f | %.3g | %.2g |\n", n_cases, n_ranks, (long long)found.n_parts,
           (long long)found.most_parts, found.makespan_s, found.bound_s, 100 * (found.makespan_s / found.bound_s - 1), per_second,
           100 * per_second * message_s);
    return 1;
}

int main(int argc, char **argv)
{
    static const int ranks[] = {8, 16, 64, 256, 1024, 4096}, cases[] = {100, 300, 1000, 10000, 100000};
    static const double slices_s[] = {1.2, 0.03};
    const double message_s = 1e-6 * (argc > 1 ? strtod(argv[1], NULL) : 5);

    for (size_t s = 0; s < sizeof slices_s / sizeof *slices_s; s++) {
        printf("%g s a slice\n\n| cases | ranks | parts | of one case | ends after s | bound s | over %% | messages/s | rank 0 %% "
               "|\n|---|---|---|---|---|---|---|---|---|\n",
               slices_s[s]);
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
                if (!print_row(cases[c], ranks[r], slices_s[s], message_s)) return 1;
        printf("\n");
    }
    return 0;
}
