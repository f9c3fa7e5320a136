/* samed: the commands and their exit codes. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jobs/comm.h"
#include "jobs/commands.h"
#include "jobs/devices.h"
#include "jobs/exits.h"
#include "jobs/spin.h"
#include "jobs/stop.h"

typedef struct command {
    const char *name;
    char *title; /* becomes argv[0] */
    const char *help;
    int (*run)(int argc, char **argv);
    bool stops; /* in good order, at a signal */
} command;

static char title_segment[] = "samed segment", title_info[] = "samed info", title_convert[] = "samed convert",
            title_phantom[] = "samed phantom", title_bench[] = "samed bench", title_evaluate[] = "samed evaluate",
            title_prepare[] = "samed prepare", title_train[] = "samed train", title_status[] = "samed status";

static const command commands[] = {
    {"segment", title_segment, "NIfTI volumes in, label maps out, on any number of ranks", job_segment_main, true},
    {"evaluate", title_evaluate, "label maps against a reference: DSC, HD and their kin per organ, as a report", job_evaluate_main, true},
    {"prepare", title_prepare, "images with label maps into a store of slices for training", job_prepare_main, true},
    {"train", title_train, "finetunes SAM on such a store; the same weights on any number of ranks", job_train_main, true},
    {"status", title_status, "where a run stands: what is done, under way, failed and why, left", job_status_main, false},
    {"info", title_info, "what a NIfTI, weight or adapter file holds; --check reads all of it", job_info_main, false},
    {"convert", title_convert, ".pth to .safetensors and back; --merge puts an adapter into SAM", job_convert_main, false},
    {"phantom", title_phantom, "synthetic CT studies with label maps, and random weights", job_phantom_main, false},
    {"bench", title_bench, "how fast the network runs here", job_bench_main, false},
};

static const size_t n_commands = sizeof commands / sizeof *commands;

static void print_help(FILE *stream)
{
    fprintf(stream, "Usage: samed COMMAND [OPTION...]\n\nSegments cohorts of medical volumes with SAM and SAMed's adapter.\n\n");
    for (size_t i = 0; i < n_commands; i++) fprintf(stream, "  %-9s %s\n", commands[i].name, commands[i].help);
    fprintf(stream, "\n'samed COMMAND --help' tells more. --version prints the version.\n");
}

static const command *find_command(const char *name)
{
    for (size_t i = 0; i < n_commands; i++)
        if (!strcmp(name, commands[i].name)) return &commands[i];
    return NULL;
}

/* A launcher ends all ranks as soon as one leaves with an error. Wrong options are found before MPI starts, by every rank for itself: the
 * silent ones leave later, so that the first can still say what is wrong. mpirun cuts the wait short. */
static int leave_after_first(int code)
{
    if (code == JOB_EXIT_USAGE && job_comm_claimed_rank() != 0) sleep(3);
    return code;
}

static int run_without_command(const char *name)
{
    if (job_comm_claimed_rank() != 0) return strncmp(name, "--", 2) ? JOB_EXIT_USAGE : JOB_EXIT_DONE;
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        printf("samed %s\n", SAMED_VERSION);
        return JOB_EXIT_DONE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_help(stdout);
        return JOB_EXIT_DONE;
    }
    if (!*name) {
        print_help(stderr);
        return JOB_EXIT_USAGE;
    }
    fprintf(stderr, "samed: '%s' is not a command; expected", name);
    for (size_t i = 0; i < n_commands; i++) fprintf(stderr, "%s%s", i == 0 ? " " : i + 1 < n_commands ? ", " : " or ", commands[i].name);
    fprintf(stderr, " (see samed --help)\n");
    return JOB_EXIT_USAGE;
}

/* What was printed has arrived, or it is said: a full disk behind `> list.json` must not look like success. A reader that left wanted no
 * more. */
static int close_output(int code)
{
    const bool has_failed = ferror(stdout) != 0;

    if ((fflush(stdout) == 0 || errno == EPIPE) && !has_failed) return code;
    fprintf(stderr, "samed: error: standard output could not be written; what was printed is not complete\n");
    return code == JOB_EXIT_DONE ? JOB_EXIT_RUN : code;
}

/* Loading MPI and all else takes longer than a fast case, and happens twice (spin.h): a signal that comes meanwhile is kept until its
 * command can stop in good order. This runs as soon as the libraries are in place, before their own beginnings. What comes before that
 * finds no code of ours, and kills. */
__attribute__((section(".preinit_array"), used)) static void (*const run_first)(void) = job_stop_hold;

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    const command *chosen = find_command(name);

    job_spin_limit(argv);
    if (chosen && chosen->stops)
        job_stop_install(); /* before MPI: starting it takes a while on many nodes */
    else
        job_stop_release();
    if (!chosen) return leave_after_first(run_without_command(name));
    argv[1] = chosen->title;
    signal(SIGXFSZ, SIG_IGN); /* beyond `ulimit -f` a write fails with EFBIG, which is reported like a full disk */
    job_memory_limit_apply();
    return leave_after_first(close_output(chosen->run(argc - 1, argv + 1)));
}
