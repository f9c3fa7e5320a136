/* The checker of emulated kernels, shared by its three files. */
#ifndef CUDAHOST_CHECK_H
#define CUDAHOST_CHECK_H

#include <string>

#include "tests/cudahost/runtime.h"

namespace cudahost
{
/* One access of the running thread to memory. */
struct touch {
    char *p;
    unsigned bytes;
    bool is_write, is_atomic;
    const void *site; /* the instruction after it */
};
void check_access(const touch &t);
/* "layernorm.cu:57" */
std::string find_source(const void *site);

/* ---- check_traffic.cpp: what moves. Nothing is counted unless the environment asks. */
bool is_traffic_wanted();
void traffic_begin_grid();
void traffic_count(const touch &t, bool is_shared);
void traffic_count_unique(const touch &t);
void traffic_end_block();
void traffic_end_grid();
void traffic_print();
} // namespace cudahost

#endif
