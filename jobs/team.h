/* Ranks that segment one case together. A team's slices are dealt out like cards: rank r takes r, r + size, r + 2 size, ... */
#ifndef JOBS_TEAM_H
#define JOBS_TEAM_H

#include "jobs/comm.h"
#include "jobs/queue.h"

typedef struct job_team {
    job_comm comm;  /* the team's ranks; rank 0 leads */
    job_comm steer; /* the same ranks: announcements of the next case, free of any order with the rest */
    int index;      /* of this team */
    int n_teams;
} job_team;

/* Collective over all ranks. teams (borrowed for the call) are the same on all ranks; NULL: each rank is its own. */
void job_team_create(const job_comm *world, const job_teams *teams, job_team *out);
/* Collective over the team. */
void job_team_free(job_team *team);

/* How many of n_slices fall to this rank, and which the i-th of them is. */
int64_t job_team_share_count(const job_team *team, int64_t n_slices);
int64_t job_team_share_at(const job_team *team, int64_t i);

/* Takes one gathered slice: labels are slice_bytes long. */
typedef io_status (*job_team_take)(void *context, int64_t k, const void *labels);

/* Collective over the team. Every other rank's slices (mine [n_mine][slice_bytes], the slice numbers in ks [n_mine]) reach the leader, who
 * hands them to take one by one; the leader's own are not sent. Fails on the leader only. */
io_status job_team_gather(const job_team *team, const int64_t *ks, const void *mine, int64_t n_mine, size_t slice_bytes, job_team_take take,
                          void *context);

/* The announcement of the next case by the leader to its team. */
typedef struct job_announcement {
    int64_t value;
    job_request request;
} job_announcement;

/* Collective over the team; returns at once. Members call it early, the leader when it knows the value. */
void job_team_announce(const job_team *team, job_announcement *announcement, int64_t value);
/* Lets an open announcement advance; true when value holds what the leader said. */
bool job_team_announced(job_announcement *announcement);

#endif
