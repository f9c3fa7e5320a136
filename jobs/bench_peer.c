/* A peer of `samed bench --train`: another program that makes the same step, on the same machine and in turns with samed, so that both meet
 * the same load. It answers each line "N" on its standard input with one line of JSON, {"seconds": [one per image, N of them]}, and begins
 * with a line of its own when it is ready (tests/bench/peers.py serve). Between its turns it is stopped: idle threads of some libraries
 * spin. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/json.h"
#include "io/memory.h"
#include "jobs/bench.h"

enum { MAX_LINE = 1 << 16, COMMAND_BYTES = 4096 };

struct bench_peer {
    pid_t pid;
    FILE *to, *from;
    char line[MAX_LINE];
};

/* In the child. */
static void run_command(const char *command, int to[2], int from[2])
{
    dup2(to[0], STDIN_FILENO);
    dup2(from[1], STDOUT_FILENO);
    for (int i = 0; i < 2; i++) {
        close(to[i]);
        close(from[i]);
    }
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static io_status start(bench_peer *peer, const char *command)
{
    int to[2], from[2];
    char text[COMMAND_BYTES];

    /* The command takes the place of the shell, so that signals reach it. */
    if (snprintf(text, sizeof text, "exec %s", command) >= (int)sizeof text)
        return IO_FAIL(IO_ERR_ARGUMENT, "--peer: the command is longer than %d characters", COMMAND_BYTES - 6);
    if (pipe(to) != 0 || pipe(from) != 0) return IO_FAIL_ERRNO("--peer");
    signal(SIGPIPE, SIG_IGN); /* a peer that ended is a failed write */
    peer->pid = fork();
    if (peer->pid == 0) run_command(text, to, from);
    close(to[0]);
    close(from[1]);
    peer->to = fdopen(to[1], "w");
    peer->from = fdopen(from[0], "r");
    if (peer->pid < 0 || !peer->to || !peer->from) return IO_FAIL_ERRNO("--peer");
    return IO_OK;
}

static io_status read_line(bench_peer *peer)
{
    if (fgets(peer->line, sizeof peer->line, peer->from)) return IO_OK;
    return IO_FAIL(IO_ERR_ARGUMENT, "--peer: the command ended without an answer; try it by hand: it has to print a line when it is ready, "
                                    "and {\"seconds\": [...]} for each line \"1\" that it reads");
}

io_status job_bench_peer_open(const char *command, bench_peer **out)
{
    io_status status = IO_OK;
    bench_peer *made = NULL;

    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    IO_TRY_GOTO(status, done, start(made, command));
    IO_TRY_GOTO(status, done, read_line(made));
    kill(made->pid, SIGSTOP);
    *out = made;
    made = NULL;
done:
    job_bench_peer_free(&made);
    return status;
}

io_status job_bench_peer_turn(bench_peer *peer, double *seconds)
{
    io_status status;
    io_json *root = NULL;
    const io_json *list;
    char text[64];

    kill(peer->pid, SIGCONT);
    fprintf(peer->to, "1\n");
    fflush(peer->to);
    status = read_line(peer);
    kill(peer->pid, SIGSTOP);
    if (status == IO_OK) status = io_json_parse(peer->line, "--peer", &root);
    if (status != IO_OK) return status;
    list = io_json_get(root, "seconds");
    if (!list || !io_json_is_array(list) || io_json_size(list) != 1 || !io_json_number(io_json_at(list, 0), seconds) || !(*seconds > 0)) {
        snprintf(text, sizeof text, "%.63s", peer->line);
        status = IO_FAIL(IO_ERR_FORMAT, "--peer: expected {\"seconds\": [one number]}, found %s", text);
    }
    io_json_free(&root);
    return status;
}

void job_bench_peer_free(bench_peer **peer)
{
    bench_peer *it = peer ? *peer : NULL;

    if (!it) return;
    if (it->to) fclose(it->to);
    if (it->from) fclose(it->from);
    if (it->pid > 0) {
        kill(it->pid, SIGKILL);
        while (waitpid(it->pid, NULL, 0) < 0 && errno == EINTR) continue;
    }
    io_free(peer);
}
