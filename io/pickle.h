/* Python pickles, read as data: a tree of values, nothing is ever called. A pickle is a program for a small stack machine; this one knows
 * only the instructions that build tuples, lists, dicts and plain values, and the caller names the few globals that may appear. A
 * "call" in the pickle becomes a value that says which global was asked for with which arguments. */
#ifndef IO_PICKLE_H
#define IO_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef enum io_pickle_kind {
    IO_PICKLE_NONE,
    IO_PICKLE_BOOL,    /* number: 0 or 1 */
    IO_PICKLE_INT,     /* number */
    IO_PICKLE_REAL,    /* its value is not kept */
    IO_PICKLE_TEXT,    /* text, n_text */
    IO_PICKLE_TUPLE,   /* items */
    IO_PICKLE_LIST,    /* items */
    IO_PICKLE_DICT,    /* items: key, value, key, value, ... */
    IO_PICKLE_GLOBAL,  /* number: index into the caller's list of globals */
    IO_PICKLE_CALL,    /* number: the global's index; items: its arguments */
    IO_PICKLE_STORED   /* a persistent id; items: one, the id */
} io_pickle_kind;

/* Values and links are numbered from 1 so that 0 says "none". */
typedef struct io_pickle_value {
    io_pickle_kind kind;
    uint32_t n_items;
    uint32_t first, last; /* links */
    int64_t number;
    const char *text;     /* [n_text] UTF-8 in the pickle, not zero-terminated */
    size_t n_text;
} io_pickle_value;

typedef struct io_pickle_link {
    uint32_t value, next;
} io_pickle_link;

typedef struct io_pickle {
    io_pickle_value *values; /* [n_values], the first is unused */
    io_pickle_link *links;   /* [n_links], the first is unused */
    uint32_t n_values, n_links;
    uint32_t root;           /* value */
} io_pickle;

/* bytes [n_bytes] must outlive *out. globals [n_globals]: "module name" of all that may appear; the empty OrderedDict
 * ("collections OrderedDict") must be globals[0] and becomes a dict. name is for messages. Free with io_pickle_free. */
io_status io_pickle_read(const uint8_t *bytes, size_t n_bytes, const char *name, const char *const *globals, size_t n_globals,
                         io_pickle **out);
void io_pickle_free(io_pickle **pickle);

const io_pickle_value *io_pickle_root(const io_pickle *pickle);
/* The item at index (keys and values of a dict count alone), walking the links; NULL when there are fewer. */
const io_pickle_value *io_pickle_item(const io_pickle *pickle, const io_pickle_value *value, uint32_t index);
bool io_pickle_is_text(const io_pickle_value *value, const char *text);

#endif
