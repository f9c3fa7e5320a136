/* Counts what kernels move: bytes asked for and distinct bytes of each kernel, and for each place in the source how many 32-byte sectors
 * (global) or passes over the banks (shared) its requests take, against the fewest possible.
 *
 * CUDAHOST_TRAFFIC=FILE writes one line for each kernel: name, launches, bytes loaded, bytes stored, distinct bytes loaded, distinct
 * bytes stored, separated by tabs. CUDAHOST_PERF=N prints the requests of the first N blocks of each launch. The addresses are those of
 * -Og, where the compiler leaves a float4 whole. */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "tests/cudahost/check.h"

namespace cudahost
{
/* The how-manieth execution of a place by a warp: its lanes' accesses are one request. */
struct request_key {
    int place, warp;
    unsigned turn;
    bool operator<(const request_key &other) const
    {
        return place != other.place ? place < other.place : warp != other.warp ? warp < other.warp : turn < other.turn;
    }
};
struct lane_access {
    request_key key;
    uintptr_t address;
    unsigned bytes, lane;
};
struct place_totals {
    const void *site;
    bool is_write, is_shared;
    unsigned bytes;
    std::string kernel;
    uint64_t n_requests, n_taken, n_least; /* sectors or passes */
    std::vector<unsigned> turns;           /* of each thread */
};
struct kernel_totals {
    uint64_t n_launches, loaded, stored, loaded_once, stored_once;
};

static std::vector<lane_access> accesses; /* of the running block */
static std::vector<place_totals> places;
static std::map<const void *, int> place_of_site;
static std::map<std::string, kernel_totals> kernels;
static kernel_totals now;
static int n_blocks_seen;

static int blocks_wanted()
{
    static const char *text = getenv("CUDAHOST_PERF");
    static const int n = text ? (int)strtol(text, nullptr, 10) : 0;

    return n;
}

bool is_traffic_wanted()
{
    static const bool is_wanted = blocks_wanted() > 0 || getenv("CUDAHOST_TRAFFIC");

    return is_wanted;
}

void traffic_begin_grid()
{
    now = {};
    n_blocks_seen = 0;
}

void traffic_count_unique(const touch &t)
{
    (t.is_write ? now.stored_once : now.loaded_once) += t.bytes;
}

static int find_place(const touch &t, bool is_shared)
{
    const auto found = place_of_site.find(t.site);

    if (found != place_of_site.end()) return found->second;
    place_of_site[t.site] = (int)places.size();
    places.push_back({t.site, t.is_write, is_shared, t.bytes, running.kernel, 0, 0, 0, {}});
    return (int)places.size() - 1;
}

void traffic_count(const touch &t, bool is_shared)
{
    if (!is_shared) (t.is_write ? now.stored : now.loaded) += t.bytes;
    if (n_blocks_seen >= blocks_wanted()) return;
    const int place = find_place(t, is_shared);
    std::vector<unsigned> &turns = places[place].turns;
    if (turns.size() < (size_t)running.n_threads) turns.resize(running.n_threads);
    accesses.push_back({{place, current->warp, turns[current->flat]++}, (uintptr_t)t.p, t.bytes, (unsigned)current->lane});
}

/* 32-byte sectors of global memory; at best the distinct bytes fill them. */
static void count_sectors(const lane_access *first, const lane_access *last, place_totals &totals)
{
    std::set<uintptr_t> sectors, words;

    for (const lane_access *a = first; a < last; a++) {
        for (uintptr_t p = a->address / 32; p <= (a->address + a->bytes - 1) / 32; p++) sectors.insert(p);
        for (uintptr_t p = a->address; p < a->address + a->bytes; p++) words.insert(p);
    }
    totals.n_taken += sectors.size();
    totals.n_least += (words.size() + 31) / 32;
}

/* 32 banks of 4 bytes serve one word each per pass; 8 and 16 bytes a lane go in halves and quarters of a warp. */
static void count_passes(const lane_access *first, const lane_access *last, place_totals &totals)
{
    const unsigned lanes_at_once = first->bytes <= 4 ? 32 : first->bytes == 8 ? 16 : 8;

    for (unsigned part = 0; part < 32; part += lanes_at_once) {
        std::map<uintptr_t, std::set<uintptr_t>> words_of_bank;
        size_t n_passes = 0;
        for (const lane_access *a = first; a < last; a++)
            for (uintptr_t word = a->address / 4;
                 a->lane / lanes_at_once * lanes_at_once == part && word <= (a->address + a->bytes - 1) / 4; word++)
                words_of_bank[word % 32].insert(word);
        for (const auto &bank : words_of_bank) n_passes = std::max(n_passes, bank.second.size());
        totals.n_taken += n_passes;
        totals.n_least += n_passes > 0;
    }
}

void traffic_end_block()
{
    auto is_less = [](const lane_access &a, const lane_access &b) { return a.key < b.key; };

    n_blocks_seen++;
    std::sort(accesses.begin(), accesses.end(), is_less);
    for (size_t i = 0, j; i < accesses.size(); i = j) {
        place_totals &totals = places[accesses[i].key.place];
        for (j = i; j < accesses.size() && !is_less(accesses[i], accesses[j]); j++) continue;
        totals.n_requests++;
        (totals.is_shared ? count_passes : count_sectors)(&accesses[i], accesses.data() + j, totals);
    }
    accesses.clear();
    for (place_totals &totals : places) std::fill(totals.turns.begin(), totals.turns.end(), 0u);
}

void traffic_end_grid()
{
    kernel_totals &totals = kernels[running.kernel];

    totals.n_launches++;
    totals.loaded += now.loaded;
    totals.stored += now.stored;
    totals.loaded_once += now.loaded_once;
    totals.stored_once += now.stored_once;
}

static void write_kernels(const char *path)
{
    FILE *file = fopen(path, "w");

    if (!file) return perror(path);
    for (const auto &k : kernels)
        fprintf(file, "%s\t%lu\t%lu\t%lu\t%lu\t%lu\n", k.first.c_str(), k.second.n_launches, k.second.loaded, k.second.stored,
                k.second.loaded_once, k.second.stored_once);
    fclose(file);
}

static void print_places()
{
    for (const place_totals &p : places)
        fprintf(stderr, "PERF %-40s %-28s %s %-5s %2u bytes a lane, %8lu requests, %s x%.2f\n", p.kernel.c_str(),
                find_source(p.site).c_str(), p.is_shared ? "shared" : "global", p.is_write ? "store" : "load", p.bytes, p.n_requests,
                p.is_shared ? "passes" : "sectors", p.n_least ? (double)p.n_taken / (double)p.n_least : 0);
}

void traffic_print()
{
    if (getenv("CUDAHOST_TRAFFIC")) write_kernels(getenv("CUDAHOST_TRAFFIC"));
    if (blocks_wanted()) print_places();
}
} // namespace cudahost
