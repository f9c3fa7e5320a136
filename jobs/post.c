/* See post.h. */
#include "jobs/post.h"

#include <stddef.h>
#include <string.h>

#include "io/memory.h"
#include "jobs/stop.h"

enum { TAG_NEWS = 21, TAG_ANSWER = 22, N_SLOTS = 16 };

typedef enum news_kind { NEWS_ASK, NEWS_PROGRESS, NEWS_OUTCOME, NEWS_STOP, NEWS_LEAVE } news_kind;

/* Small enough to be sent eagerly by every transport of Open MPI. */
typedef struct news {
    news_kind kind;
    int64_t n_slices;
    job_outcome outcome;
} news;

struct job_post {
    job_comm comm; /* a copy of the world: no other message can be taken for one of these */
    job_queue *queue;
    job_post_events events;
    /* messages under way, a ring */
    news slots[N_SLOTS];
    job_request requests[N_SLOTS];
    int next_slot;
    /* the answer */
    job_answer answer;
    job_request answer_request;
    bool has_answer;
    /* rank 0 */
    job_answer *answers;          /* [world size] */
    job_request *answer_requests; /* [world size] */
    int home;                     /* of the case whose parts are being handed out */
    int n_left;
};

/* Rank r has place r to begin with, so the first part of its case is some places, that is ranks, before. */
static int find_first_home(const job_queue *queue, int64_t place)
{
    const job_part *part = job_queue_at(queue, place);

    return part ? (int)(place - part->number) : 0;
}

io_status job_post_create(const job_comm *world, job_queue *queue, const job_post_events *events, job_post **out)
{
    io_status status;
    job_post *post = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *post, (void **)&post));
    IO_TRY_GOTO(status, done, io_alloc((size_t)world->size, sizeof *post->answers, (void **)&post->answers));
    IO_TRY_GOTO(status, done, io_alloc((size_t)world->size, sizeof *post->answer_requests, (void **)&post->answer_requests));
done:
    if (!job_all_ok(world, &status, NULL)) {
        if (post) io_free(&post->answers);
        if (post) io_free(&post->answer_requests);
        io_free(&post);
        return status;
    }
    job_comm_copy(world, &post->comm);
    post->queue = queue;
    if (events) post->events = *events;
    post->n_left = world->size;
    post->home = find_first_home(queue, world->size - 1);
    for (int r = 0; world->rank == 0 && r < world->size; r++) (void)job_queue_next(queue);
    *out = post;
    return IO_OK;
}

job_answer job_post_first(const job_post *post)
{
    const int place = post->comm.rank;

    if (!job_queue_at(post->queue, place)) return (job_answer){.place = JOB_QUEUE_EMPTY, .n_handed = place};
    return (job_answer){.place = place, .home = find_first_home(post->queue, place)};
}

void job_post_free(job_post **post)
{
    if (!post || !*post) return;
    for (int i = 0; i < N_SLOTS; i++) job_comm_wait(&(*post)->requests[i]);
    for (int i = 0; i < (*post)->comm.size; i++) job_comm_wait(&(*post)->answer_requests[i]);
    job_comm_free(&(*post)->comm);
    io_free(&(*post)->answers);
    io_free(&(*post)->answer_requests);
    io_free(post);
}

static job_answer pick_next(job_post *post, int rank)
{
    job_answer next = {.place = job_stop_asked() ? JOB_QUEUE_EMPTY : job_queue_next(post->queue)};
    const job_part *part = job_queue_at(post->queue, next.place);

    if (part && part->number == 0) post->home = rank;
    next.home = post->home;
    next.n_handed = (int64_t)(job_queue_size(post->queue) - job_queue_left(post->queue));
    if (part && post->events.handed) post->events.handed(post->events.context, part, rank);
    return next;
}

static void answer(job_post *post, int rank)
{
    const job_answer next = pick_next(post, rank);

    if (rank == 0) {
        post->answer = next;
        post->has_answer = true;
        return;
    }
    job_comm_wait(&post->answer_requests[rank]); /* the answer before this one, long since taken */
    post->answers[rank] = next;
    post->answer_requests[rank] = job_comm_send_begin(&post->comm, &post->answers[rank], sizeof next, rank, TAG_ANSWER);
}

static void take(job_post *post, const news *message, int from)
{
    switch (message->kind) {
    case NEWS_ASK: answer(post, from); break;
    case NEWS_PROGRESS: post->events.progressed(post->events.context, message->n_slices); break;
    case NEWS_OUTCOME: post->events.ended(post->events.context, &message->outcome); break;
    case NEWS_STOP: job_stop_ask(); break;
    case NEWS_LEAVE: post->n_left--; break;
    }
}

static void send_news(job_post *post, const news *message)
{
    const int slot = post->next_slot;

    if (post->comm.rank == 0) {
        take(post, message, 0);
        return;
    }
    post->next_slot = (slot + 1) % N_SLOTS; /* before waiting: the idle hook may send too */
    job_comm_wait(&post->requests[slot]);
    post->slots[slot] = *message;
    post->requests[slot] = job_comm_send_begin(&post->comm, &post->slots[slot],
                                               message->kind == NEWS_OUTCOME ? sizeof(news) : offsetof(news, outcome), 0, TAG_NEWS);
}

void job_post_ask(job_post *post)
{
    post->has_answer = false;
    if (post->comm.rank != 0) post->answer_request = job_comm_receive_begin(&post->comm, &post->answer, sizeof post->answer, 0, TAG_ANSWER);
    send_news(post, &(news){.kind = NEWS_ASK});
}

bool job_post_answered(job_post *post, job_answer *answer)
{
    const bool is_here = post->has_answer || (post->comm.rank != 0 && job_comm_test(&post->answer_request));

    if (is_here) *answer = post->answer;
    return is_here;
}

void job_post_progress(job_post *post, int64_t n_slices)
{
    send_news(post, &(news){.kind = NEWS_PROGRESS, .n_slices = n_slices});
}

void job_post_outcome(job_post *post, const job_outcome *outcome)
{
    send_news(post, &(news){.kind = NEWS_OUTCOME, .outcome = *outcome});
}

void job_post_stop(job_post *post)
{
    send_news(post, &(news){.kind = NEWS_STOP});
}

void job_post_leave(job_post *post)
{
    send_news(post, &(news){.kind = NEWS_LEAVE});
}

void job_post_serve(job_post *post)
{
    news message;
    int from;

    while (job_comm_take(&post->comm, &message, sizeof message, TAG_NEWS, &from)) take(post, &message, from);
}

bool job_post_all_left(const job_post *post)
{
    return post->n_left == 0;
}
