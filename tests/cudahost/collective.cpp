/* Meetings of the lanes of a warp, and asynchronous copies to shared memory. */
#include <algorithm>

#include "tests/cudahost/runtime.h"

namespace cudahost
{
typedef thread_state *lanes_of_warp[32];

template <class F> static void for_each(unsigned mask, F action)
{
    for (; mask; mask &= mask - 1) action(__builtin_ctz(mask));
}

static void demand_same_meeting(lanes_of_warp &lanes, unsigned mask)
{
    const request &first = *lanes[__builtin_ctz(mask)]->wish;

    for_each(mask, [&](int i) {
        const request &own = *lanes[i]->wish;
        if (own.kind == first.kind && own.custom == first.custom) return;
        current = lanes[i];
        fatal("lanes of a warp meet in two collectives, %s:%d and %s:%d", first.file, first.line, own.file, own.line);
    });
}

static void shuffle_values(lanes_of_warp &lanes, unsigned mask)
{
    for_each(mask, [&](int i) {
        const request &own = *lanes[i]->wish;
        if (!(mask >> own.source & 1)) {
            current = lanes[i];
            fatal("the shuffle at %s:%d reads lane %d, which is not in its mask %08x", own.file, own.line, own.source, mask);
        }
        lanes[i]->meeting_result = lanes[own.source]->wish->value;
    });
}

/* Votes and reductions: one result for all. */
static uint64_t reduce(lanes_of_warp &lanes, unsigned mask, meeting kind)
{
    uint64_t sum = 0, smallest = UINT64_MAX, largest = 0;
    unsigned votes = 0;

    for_each(mask, [&](int i) {
        const uint64_t value = lanes[i]->wish->value;
        votes |= value ? 1u << i : 0;
        sum += value;
        smallest = std::min(smallest, value);
        largest = std::max(largest, value);
    });
    switch (kind) {
    case meeting::ballot: return votes;
    case meeting::any: return votes != 0;
    case meeting::all: return votes == mask;
    case meeting::add: return (uint32_t)sum;
    case meeting::minimum: return smallest;
    default: return largest;
    }
}

static void match_values(lanes_of_warp &lanes, unsigned mask)
{
    for_each(mask, [&](int i) {
        unsigned same = 0;
        for_each(mask, [&](int j) { same |= lanes[j]->wish->value == lanes[i]->wish->value ? 1u << j : 0; });
        lanes[i]->meeting_result = same;
    });
}

static void hold_meeting(lanes_of_warp &lanes, unsigned mask)
{
    const request &first = *lanes[__builtin_ctz(mask)]->wish;
    request *wishes[32] = {};

    demand_same_meeting(lanes, mask);
    switch (first.kind) {
    case meeting::syncwarp: for_each(mask, [&](int i) { lanes[i]->warp_syncs++; }); break;
    case meeting::shuffle: shuffle_values(lanes, mask); break;
    case meeting::match: match_values(lanes, mask); break;
    case meeting::custom:
        for_each(mask, [&](int i) { wishes[i] = lanes[i]->wish; });
        first.custom(wishes);
        break;
    default: {
        const uint64_t result = reduce(lanes, mask, first.kind);
        for_each(mask, [&](int i) { lanes[i]->meeting_result = result; });
    }
    }
    for_each(mask, [&](int i) {
        lanes[i]->wish = nullptr;
        lanes[i]->now = state::ready;
    });
}

/* The lanes that the mask names, when all of them are there. */
static bool gather_lanes(const request &own, lanes_of_warp &lanes)
{
    const int first = current->flat / 32 * 32, n_lanes = std::min(32, (int)threads.size() - first);

    for (unsigned left = own.mask; left; left &= left - 1) {
        const int i = __builtin_ctz(left);
        if (i >= n_lanes)
            fatal("the mask %08x at %s:%d names lane %d, but the warp has %d threads", own.mask, own.file, own.line, i, n_lanes);
        lanes[i] = &threads[first + i];
        if (lanes[i]->now == state::done) fatal("the mask %08x at %s:%d names lane %d, which has ended", own.mask, own.file, own.line, i);
        if (lanes[i]->now != state::at_meeting || lanes[i]->wish->mask != own.mask) return false;
    }
    return true;
}

uint64_t meet_warp(request &own)
{
    thread_state *t = current;
    lanes_of_warp lanes;
    bool is_complete;

    if (!(own.mask >> t->lane & 1))
        fatal("lane %d is at the collective %s:%d, whose mask %08x does not name it", t->lane, own.file, own.line, own.mask);
    t->wish = &own;
    t->now = state::at_meeting;
    is_complete = gather_lanes(own, lanes);
    if (is_complete) hold_meeting(lanes, own.mask);
    current = t;
    /* In the forward order the last to come goes on at once; in the others, whoever's turn it is. */
    if (!is_complete || options().how != order::forward) yield_thread();
    return t->meeting_result;
}

/* The source is read at once, but the bytes land only at the wait that covers them, and until then there is NaN. */
void copy_async(void *to, const void *from, size_t bytes, const char *file, int line)
{
    pending_copy copy = {to, {}, bytes, __builtin_return_address(0)};

    if (reinterpret_cast<uintptr_t>(to) % bytes || reinterpret_cast<uintptr_t>(from) % bytes)
        fatal("the asynchronous copy at %s:%d is not aligned to %zu bytes", file, line, bytes);
    if (current->copies.empty()) current->copies.emplace_back();
    memcpy(copy.data, from, bytes);
    if (check_on_access) {
        check_on_access(from, (unsigned)bytes, false, copy.site);
        check_on_access(to, (unsigned)bytes, true, copy.site); /* it may land at any time from here on */
        check_on_unwritten(to, (unsigned)bytes);
    }
    memset(to, 0xff, bytes);
    current->copies.back().push_back(copy);
}

void copy_async_commit()
{
    if (current->copies.empty()) current->copies.emplace_back();
    current->copies.emplace_back();
}

void copy_async_wait(int n_left)
{
    auto &groups = current->copies;

    while ((int)groups.size() - 1 > n_left) {
        for (const pending_copy &copy : groups.front()) {
            if (check_on_access) check_on_access(copy.to, (unsigned)copy.bytes, true, copy.site);
            memcpy(copy.to, copy.data, copy.bytes);
        }
        groups.erase(groups.begin());
    }
}
} // namespace cudahost
