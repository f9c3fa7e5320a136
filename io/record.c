/* Records of finished cases. See record.h. Whatever is wrong with a record means that the case is computed again, so nothing here
 * trusts one and nothing fails because of one. */
#include "io/record.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"

enum {
    REASON_BYTES = 160,
    N_FIELDS = 5,
    MAX_RECORD_BYTES = 1 << 24 /* far above any record; a larger file is not one */
};

static const char format_name[] = "samed-record-1";

typedef struct record_field {
    const char *name;   /* in the file */
    const char *value;  /* expected */
    const char *change; /* what a difference means */
} record_field;

/* The one list of what must agree; both reading and writing go through it. */
static void list_fields(const io_record_key *key, record_field fields[N_FIELDS])
{
    fields[0] = (record_field){"version", key->version, "it was made by another version of samed"};
    fields[1] = (record_field){"input_sha256", key->input_sha256, "the input has changed"};
    fields[2] = (record_field){"sam_sha256", key->sam_sha256, "it was made with other SAM weights"};
    fields[3] = (record_field){"adapter_sha256", key->adapter_sha256, "it was made with another adapter"};
    fields[4] = (record_field){"options", key->options, "it was made with other options"};
}

/* Writes the reason, if anybody wants it; always false, for `return`. */
static bool say(char *reason, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool say(char *reason, const char *format, ...)
{
    va_list arguments;

    if (!reason) return false;
    va_start(arguments, format);
    vsnprintf(reason, REASON_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

static bool has_equal_key(const io_json *record, const io_record_key *key, char *reason)
{
    record_field fields[N_FIELDS];
    const char *format = io_json_get_text(record, "format");

    if (!format || strcmp(format, format_name)) return say(reason, "the record is not one of samed's (%s)", format_name);
    list_fields(key, fields);
    for (int i = 0; i < N_FIELDS; i++) {
        const char *found = io_json_get_text(record, fields[i].name);
        if (!found) return say(reason, "the record lacks %s", fields[i].name);
        if (strcmp(found, fields[i].value)) return say(reason, "%s", fields[i].change);
    }
    return true;
}

static bool has_equal_output(const io_json *record, const char *output_path, char *reason)
{
    const char *expected = io_json_get_text(record, "output_sha256");
    char found[65];

    if (!expected) return say(reason, "the record lacks output_sha256");
    if (!io_file_exists(output_path)) return say(reason, "the output is not there");
    if (io_hash_file(output_path, found) != IO_OK) return say(reason, "the output cannot be read");
    if (strcmp(found, expected)) return say(reason, "the output is not the one the record tells of");
    return true;
}

io_status io_record_check(const char *record_path, const char *output_path, const io_record_key *key, bool *is_done, char reason[160])
{
    io_json *record = NULL;
    io_status status;

    *is_done = false;
    if (reason) reason[0] = 0;
    if (!io_file_exists(record_path)) {
        say(reason, "there is no record of it");
        return IO_OK;
    }
    status = io_json_read(record_path, MAX_RECORD_BYTES, &record);
    if (status == IO_OK) {
        *is_done = has_equal_key(record, key, reason) && has_equal_output(record, output_path, reason);
    } else {
        say(reason, "the record cannot be read (%s)", io_status_name(status));
    }
    io_json_free(&record);
    return IO_OK;
}

static io_status put_key(io_json *record, const io_record_key *key, const char *output_sha256)
{
    record_field fields[N_FIELDS];

    IO_TRY(io_json_put_text(record, "format", format_name));
    list_fields(key, fields);
    for (int i = 0; i < N_FIELDS; i++) IO_TRY(io_json_put_text(record, fields[i].name, fields[i].value));
    return io_json_put_text(record, "output_sha256", output_sha256);
}

/* Details may not hide what proves the case. */
static io_status put_details(io_json *record, const io_json *details)
{
    for (size_t i = 0; i < io_json_size(details); i++) {
        const io_json *member = io_json_at(details, i);
        io_json *copy = NULL;
        if (io_json_get(record, io_json_key(member)))
            return IO_FAIL(IO_ERR_ARGUMENT, "a record's details may not hold \"%s\": it belongs to its key", io_json_key(member));
        IO_TRY(io_json_copy(member, &copy));
        IO_TRY(io_json_put(record, io_json_key(member), &copy));
    }
    return IO_OK;
}

io_status io_record_write(const char *record_path, const io_record_key *key, const char *output_sha256, const io_json *details)
{
    io_status status = IO_OK;
    io_json *record = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&record));
    IO_TRY_GOTO(status, done, put_key(record, key, output_sha256));
    IO_TRY_GOTO(status, done, put_details(record, details));
    status = io_json_write(record, record_path);
done:
    io_json_free(&record);
    return status;
}
