/* JSON, read and written (cJSON inside). A node belongs to its tree; only the root is freed. Object keys keep their order. */
#ifndef IO_JSON_H
#define IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct io_json io_json;

io_status io_json_parse(const char *text, const char *name, io_json **out); /* name is used in messages */
io_status io_json_read(const char *path, size_t max_bytes, io_json **out);
io_status io_json_create_object(io_json **out);
io_status io_json_create_array(io_json **out);
void io_json_free(io_json **root);

/* Borrowed nodes; NULL when absent or of another type. Of duplicate keys the first counts. */
const io_json *io_json_get(const io_json *object, const char *key);
const io_json *io_json_at(const io_json *array_or_object, size_t index);
const io_json *io_json_next(const io_json *member);          /* the one behind it in its array or object */
size_t io_json_size(const io_json *array_or_object);
const char *io_json_key(const io_json *member);              /* the member's key */
const char *io_json_text(const io_json *node);               /* a string's text */
const char *io_json_get_text(const io_json *object, const char *key);
bool io_json_get_number(const io_json *object, const char *key, double *out);
bool io_json_number(const io_json *node, double *out);
bool io_json_is_true(const io_json *node);
bool io_json_is_object(const io_json *node);
bool io_json_is_array(const io_json *node);

/* Adders report only lack of memory. Putting under a key that is there replaces its value. Numbers that are integers below 2^53 are written as integers, others with the shortest text that
 * reads back equal; NaN and infinities are written as null. */
io_status io_json_put_text(io_json *object, const char *key, const char *text);
io_status io_json_put_number(io_json *object, const char *key, double number);
io_status io_json_put_bool(io_json *object, const char *key, bool value);
io_status io_json_put(io_json *object, const char *key, io_json **child); /* takes the child over and nulls it */
/* The node and everything below it, as a tree of its own. */
io_status io_json_copy(const io_json *node, io_json **out);
io_status io_json_add_text(io_json *array, const char *text);
io_status io_json_add_number(io_json *array, double number);
io_status io_json_add(io_json *array, io_json **child);

/* Bytes of the UTF-8 character that a zero-terminated text begins with; 0 when it is none. */
size_t io_json_character_bytes(const uint8_t *text);

/* *out with io_free; pretty has one member per line, else one line in all. */
io_status io_json_print(const io_json *root, bool pretty, char **out);
io_status io_json_write(const io_json *root, const char *path); /* pretty, atomic */

#endif
