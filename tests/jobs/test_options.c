/* Wrong command lines on a rank that says nothing: it has to leave with the first rank, which argp ends, not wait for it in MPI_Init. */
#include "tests/check.h"

#include <stdlib.h>

#include "jobs/evaluate.h"
#include "jobs/exits.h"
#include "jobs/options.h"
#include "jobs/prepare.h"

enum { MAX_WORDS = 16 };

static int become_second_rank(void **state)
{
    return setenv("OMPI_COMM_WORLD_RANK", "1", 1);
}

/* Cuts line into words. argp may reorder them. */
static int split(char *line, char **words)
{
    int n = 0;
    char *rest;

    for (char *word = strtok_r(line, " ", &rest); word && n < MAX_WORDS; word = strtok_r(NULL, " ", &rest)) words[n++] = word;
    words[n] = NULL;
    return n;
}

static int parse_segment(const char *line, job_segment_options *options)
{
    static char copy[512];
    char *words[MAX_WORDS + 1];

    snprintf(copy, sizeof copy, "segment %s", line);
    return job_options_segment(split(copy, words), words, options);
}

static void expect_segment(const char *line, int code)
{
    job_segment_options options;
    const int found = parse_segment(line, &options);

    if (found != code) fail_msg("segment %s: expected %d, found %d", line, code, found);
    job_options_free(&options);
}

static void test_segment_accepts(void **state)
{
    static const char *const endings[] = {
        "",           "-n",           "--team all",      "--team 3",          "--precision bf16", "--window -5 5",
        "--batch 16", "--device cpu", "--preset direct", "--percentile 1 99", "--orient ras"};

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char line[256];
        snprintf(line, sizeof line, "-i a.nii -o out --sam s.pth %s", endings[i]);
        expect_segment(line, -1);
    }
}

static void test_segment_refuses(void **state)
{
    static const char *const endings[] = {"--team 0",
                                          "--team x",
                                          "--precision f16",
                                          "--window 5 5",
                                          "--window 5",
                                          "--window 5 -n",
                                          "--batch 0",
                                          "--batch 1x",
                                          "--device foo",
                                          "--image-size 100",
                                          "--threads 0",
                                          "--preset none",
                                          "--orient left",
                                          "--percentile 1 101",
                                          "--window nan 5",
                                          "--list b.tsv",
                                          "--nonsense",
                                          "-q -v",
                                          "--window 1 2 --percentile 1 2"};

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char line[256];
        snprintf(line, sizeof line, "-i a.nii -o out --sam s.pth %s", endings[i]);
        expect_segment(line, JOB_EXIT_USAGE);
    }
    expect_segment("-o out --sam s.pth", JOB_EXIT_USAGE);
    expect_segment("-i a.nii --sam s.pth", JOB_EXIT_USAGE);
    expect_segment("-i a.nii -o out", JOB_EXIT_USAGE);
    expect_segment("-i a.nii -o out -n", -1); /* a fault does not stay for the next command line */
}

static void test_help_ends_well(void **state)
{
    expect_segment("--help", JOB_EXIT_DONE);
    expect_segment("--version", JOB_EXIT_DONE);
}

static void expect_evaluate(const char *ending, int code)
{
    char line[256], *words[MAX_WORDS + 1];
    evaluate_options options;
    int n, found;

    snprintf(line, sizeof line, "evaluate -p p -r r -o out %s", ending);
    n = split(line, words);
    found = job_options_evaluate(n, words, &options);
    if (found != code) fail_msg("evaluate %s: expected %d, found %d", ending, code, found);
    job_options_evaluate_free(&options);
}

static void test_evaluate(void **state)
{
    static const char *const wrong[] = {"--convention none", "--tolerance x", "--resample linear", "--grid-tolerance -1",
                                        "--worst 1000",      "--seed x",      "--empty nonsense",  "-v -q"};

    expect_evaluate("", -1);
    expect_evaluate("--convention all --tolerance 1,3", -1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) expect_evaluate(wrong[i], JOB_EXIT_USAGE);
}

static void expect_prepare(const char *ending, int code)
{
    char line[256], *words[MAX_WORDS + 1];
    prepare_options options;
    int n, found;

    snprintf(line, sizeof line, "prepare -i images -o out %s", ending);
    n = split(line, words);
    found = job_options_prepare(n, words, &options);
    if (found != code) fail_msg("prepare %s: expected %d, found %d", ending, code, found);
}

static void test_prepare(void **state)
{
    static const char *const wrong[] = {"--window 5 5", "--grid-tolerance -1", "--orient left", "--nonsense", "stray", "-q -v"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) expect_prepare(wrong[i], JOB_EXIT_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_accepts), cmocka_unit_test(test_segment_refuses), cmocka_unit_test(test_help_ends_well),
        cmocka_unit_test(test_evaluate),        cmocka_unit_test(test_prepare),
    };
    return cmocka_run_group_tests(tests, become_second_rank, NULL);
}
