/* JSON trees: parsed and held by cJSON. See json.h. Printing is in json_print.c. */
#include "io/json.h"

#include <math.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "io/file.h"
#include "io/memory.h"

/* An io_json is a cJSON under another name, so that only this room needs cJSON's header. */
static cJSON *open_node(io_json *node)
{
    return (cJSON *)node;
}

static const cJSON *look_into(const io_json *node)
{
    return (const cJSON *)node;
}

static io_status refuse_memory(void)
{
    return IO_FAIL(IO_ERR_MEMORY, "out of memory for a JSON value");
}

/* ---- parsing ---- */

static io_status fail_parse(const char *text, const char *name, const char *where)
{
    const char *line_start = text;
    int line = 1;

    for (const char *c = text; c < where; c++) {
        if (*c != '\n') continue;
        line++;
        line_start = c + 1;
    }
    return IO_FAIL(IO_ERR_FORMAT, "%s: expected JSON, found something else at line %d, column %d (or nesting deeper than %d)", name, line,
                   (int)(where - line_start) + 1, CJSON_NESTING_LIMIT);
}

io_status io_json_parse(const char *text, const char *name, io_json **out)
{
    const char *end = text;

    *out = (io_json *)cJSON_ParseWithOpts(text, &end, 1);
    return *out ? IO_OK : fail_parse(text, name, end);
}

io_status io_json_read(const char *path, size_t max_bytes, io_json **out)
{
    io_status status;
    char *text = NULL;

    *out = NULL;
    IO_TRY(io_file_read_text(path, max_bytes, &text));
    status = io_json_parse(text, path, out);
    io_free(&text);
    return status;
}

/* ---- making and freeing ---- */

static io_status give(cJSON *node, io_json **out)
{
    *out = (io_json *)node;
    return node ? IO_OK : refuse_memory();
}

io_status io_json_create_object(io_json **out)
{
    return give(cJSON_CreateObject(), out);
}

io_status io_json_create_array(io_json **out)
{
    return give(cJSON_CreateArray(), out);
}

io_status io_json_copy(const io_json *node, io_json **out)
{
    return give(cJSON_Duplicate(look_into(node), 1), out);
}

void io_json_free(io_json **root)
{
    cJSON_Delete(open_node(*root));
    *root = NULL;
}

/* ---- looking ---- */

const io_json *io_json_get(const io_json *object, const char *key)
{
    if (!io_json_is_object(object)) return NULL;
    return (const io_json *)cJSON_GetObjectItemCaseSensitive(look_into(object), key);
}

const io_json *io_json_at(const io_json *array_or_object, size_t index)
{
    const cJSON *child = array_or_object ? look_into(array_or_object)->child : NULL;

    while (child && index-- > 0) child = child->next;
    return (const io_json *)child;
}

const io_json *io_json_next(const io_json *member)
{
    return member ? (const io_json *)look_into(member)->next : NULL;
}

size_t io_json_size(const io_json *array_or_object)
{
    size_t n = 0;

    if (!array_or_object) return 0;
    for (const cJSON *child = look_into(array_or_object)->child; child; child = child->next) n++;
    return n;
}

const char *io_json_key(const io_json *member)
{
    return member ? look_into(member)->string : NULL;
}

const char *io_json_text(const io_json *node)
{
    return node && cJSON_IsString(look_into(node)) ? look_into(node)->valuestring : NULL;
}

const char *io_json_get_text(const io_json *object, const char *key)
{
    return io_json_text(io_json_get(object, key));
}

bool io_json_number(const io_json *node, double *out)
{
    if (!node || !cJSON_IsNumber(look_into(node)) || !isfinite(look_into(node)->valuedouble)) return false;
    *out = look_into(node)->valuedouble;
    return true;
}

bool io_json_get_number(const io_json *object, const char *key, double *out)
{
    return io_json_number(io_json_get(object, key), out);
}

bool io_json_is_true(const io_json *node)
{
    return node && cJSON_IsTrue(look_into(node));
}

bool io_json_is_object(const io_json *node)
{
    return node && cJSON_IsObject(look_into(node));
}

bool io_json_is_array(const io_json *node)
{
    return node && cJSON_IsArray(look_into(node));
}

/* ---- putting and adding ---- */

/* Takes node over, also on failure. */
static io_status put_node(io_json *object, const char *key, cJSON *node)
{
    if (!node) return refuse_memory();
    if (io_json_get(object, key)) {
        if (cJSON_ReplaceItemInObjectCaseSensitive(open_node(object), key, node)) return IO_OK;
    } else if (cJSON_AddItemToObject(open_node(object), key, node)) {
        return IO_OK;
    }
    cJSON_Delete(node);
    return refuse_memory();
}

static io_status add_node(io_json *array, cJSON *node)
{
    if (!node) return refuse_memory();
    if (cJSON_AddItemToArray(open_node(array), node)) return IO_OK;
    cJSON_Delete(node);
    return refuse_memory();
}

/* JSON knows no NaN and no infinity. */
static cJSON *create_number(double number)
{
    return isfinite(number) ? cJSON_CreateNumber(number) : cJSON_CreateNull();
}

io_status io_json_put_text(io_json *object, const char *key, const char *text)
{
    return put_node(object, key, cJSON_CreateString(text));
}

io_status io_json_put_number(io_json *object, const char *key, double number)
{
    return put_node(object, key, create_number(number));
}

io_status io_json_put_bool(io_json *object, const char *key, bool value)
{
    return put_node(object, key, cJSON_CreateBool(value));
}

io_status io_json_put(io_json *object, const char *key, io_json **child)
{
    cJSON *node = open_node(*child);

    *child = NULL;
    return put_node(object, key, node);
}

io_status io_json_add_text(io_json *array, const char *text)
{
    return add_node(array, cJSON_CreateString(text));
}

io_status io_json_add_number(io_json *array, double number)
{
    return add_node(array, create_number(number));
}

io_status io_json_add(io_json *array, io_json **child)
{
    cJSON *node = open_node(*child);

    *child = NULL;
    return add_node(array, node);
}
