/* See pickle.h. Source: CPython's Lib/pickletools.py, which documents every instruction; spec 1.7 lists those that torch.save writes.
 *
 * Memory is bounded: every value, link and stack slot is paid for by at least one byte of the pickle. Memo slots are not, since one
 * instruction may name a far one; there are at most VALUES_MAX of them, 8 MiB. */
#include "io/pickle.h"

#include <stdio.h>
#include <string.h>

#include "io/memory.h"

enum { VALUES_MAX = 1 << 21, GLOBAL_MAX_BYTES = 128 };

/* Instructions, by the names of pickletools. */
enum {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_BINFLOAT = 'G',
    OP_BINUNICODE = 'X',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_APPENDS = 'e',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_SETITEMS = 'u',
    OP_EMPTY_TUPLE = ')',
    OP_EMPTY_LIST = ']',
    OP_EMPTY_DICT = '}',
    OP_PROTO = 0x80,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a,
    OP_SHORT_BINUNICODE = 0x8c,
    OP_STACK_GLOBAL = 0x93,
    OP_MEMOIZE = 0x94,
    OP_FRAME = 0x95
};

static const uint32_t MARK = 0; /* on the stack, where values are numbers from 1 */

typedef struct machine {
    const uint8_t *bytes; /* [n_bytes] */
    size_t n_bytes, at;   /* at: the next byte */
    size_t op_at;         /* where the instruction under way began, for messages */
    const char *name;
    const char *const *globals; /* [n_globals] */
    size_t n_globals;
    io_pickle *pickle;
    uint32_t *stack, *memo; /* [n_stack], [n_memo] of values */
    size_t n_stack, n_memo;
    size_t room_values, room_links, room_stack, room_memo;
    uint32_t memo_next; /* MEMOIZE counts the memo's entries */
} machine;

#define REFUSE(m, status, ...) io_fail_context(IO_FAIL(status, __VA_ARGS__), "%s, byte %zu", (m)->name, (m)->op_at)

static io_status make_room(void **block, size_t used, size_t *room, size_t item_bytes)
{
    const size_t larger = *room ? *room * 2 : 256;

    if (used < *room) return IO_OK;
    IO_TRY(io_grow(block, used * item_bytes, larger, item_bytes));
    *room = larger;
    return IO_OK;
}

static io_status push(machine *m, uint32_t value)
{
    IO_TRY(make_room((void **)&m->stack, m->n_stack, &m->room_stack, sizeof *m->stack));
    m->stack[m->n_stack++] = value;
    return IO_OK;
}

static io_status push_new(machine *m, io_pickle_value value)
{
    io_pickle *pickle = m->pickle;

    if (pickle->n_values >= VALUES_MAX) return REFUSE(m, IO_ERR_UNSUPPORTED, "the pickle holds more than %d values", VALUES_MAX);
    IO_TRY(make_room((void **)&pickle->values, pickle->n_values, &m->room_values, sizeof *pickle->values));
    pickle->values[pickle->n_values] = value;
    return push(m, pickle->n_values++);
}

static io_status pop(machine *m, uint32_t *value)
{
    if (m->n_stack == 0 || m->stack[m->n_stack - 1] == MARK) return REFUSE(m, IO_ERR_FORMAT, "the pickle takes a value that it never made");
    *value = m->stack[--m->n_stack];
    return IO_OK;
}

static io_status find_mark(machine *m, size_t *mark)
{
    for (size_t i = m->n_stack; i-- > 0;) {
        if (m->stack[i] == MARK) {
            *mark = i;
            return IO_OK;
        }
    }
    return REFUSE(m, IO_ERR_FORMAT, "the pickle closes a group that it never opened");
}

static io_status append(machine *m, uint32_t container, uint32_t item)
{
    io_pickle *pickle = m->pickle;
    io_pickle_value *value = &pickle->values[container];

    if (pickle->n_links >= VALUES_MAX) return REFUSE(m, IO_ERR_UNSUPPORTED, "the pickle holds more than %d items", VALUES_MAX);
    IO_TRY(make_room((void **)&pickle->links, pickle->n_links, &m->room_links, sizeof *pickle->links));
    pickle->links[pickle->n_links] = (io_pickle_link){.value = item};
    if (value->last)
        pickle->links[value->last].next = pickle->n_links;
    else
        value->first = pickle->n_links;
    value->last = pickle->n_links++;
    value->n_items++;
    return IO_OK;
}

/* *operand: the next n bytes of the program. */
static io_status take(machine *m, uint64_t n, const uint8_t **operand)
{
    if (n > m->n_bytes - m->at) return REFUSE(m, IO_ERR_TRUNCATED, "the pickle ends inside an instruction");
    *operand = m->bytes + m->at;
    m->at += (size_t)n;
    return IO_OK;
}

/* Little-endian, n_operand <= 8 bytes. */
static io_status take_number(machine *m, unsigned n_operand, bool is_signed, int64_t *out)
{
    const uint8_t *operand;
    uint64_t number = 0;

    IO_TRY(take(m, n_operand, &operand));
    for (unsigned i = 0; i < n_operand; i++) number |= (uint64_t)operand[i] << (8 * i);
    if (is_signed && n_operand > 0 && n_operand < 8 && operand[n_operand - 1] & 0x80) number |= UINT64_MAX << (8 * n_operand);
    *out = (int64_t)number;
    return IO_OK;
}

static io_status run_number(machine *m, int op)
{
    int64_t number = 0, n_operand = 0;

    if (op == OP_LONG1) {
        IO_TRY(take_number(m, 1, false, &n_operand));
        if (n_operand > 8) return REFUSE(m, IO_ERR_UNSUPPORTED, "an integer of %d bytes; at most 8 are read", (int)n_operand);
        IO_TRY(take_number(m, (unsigned)n_operand, true, &number));
    } else {
        IO_TRY(take_number(m, op == OP_BININT ? 4 : op == OP_BININT2 ? 2 : 1, op == OP_BININT, &number));
    }
    return push_new(m, (io_pickle_value){.kind = IO_PICKLE_INT, .number = number});
}

static io_status run_real(machine *m)
{
    const uint8_t *operand;

    IO_TRY(take(m, 8, &operand));
    return push_new(m, (io_pickle_value){.kind = IO_PICKLE_REAL});
}

static io_status run_text(machine *m, int op)
{
    int64_t n_text;
    const uint8_t *text;

    IO_TRY(take_number(m, op == OP_BINUNICODE ? 4 : 1, false, &n_text));
    IO_TRY(take(m, (uint64_t)n_text, &text));
    return push_new(m, (io_pickle_value){.kind = IO_PICKLE_TEXT, .text = (const char *)text, .n_text = (size_t)n_text});
}

/* listed is "module name". */
static bool is_global(const char *listed, const char *module, size_t n_module, const char *name, size_t n_name)
{
    return strlen(listed) == n_module + 1 + n_name && memcmp(listed, module, n_module) == 0 && listed[n_module] == ' ' &&
           memcmp(listed + n_module + 1, name, n_name) == 0;
}

/* Only what the caller listed gets through: this is where os.system and its kin end. */
static io_status push_global(machine *m, const char *module, size_t n_module, const char *name, size_t n_name)
{
    char text[2 * GLOBAL_MAX_BYTES];

    for (size_t i = 0; i < m->n_globals; i++) {
        if (is_global(m->globals[i], module, n_module, name, n_name))
            return push_new(m, (io_pickle_value){.kind = IO_PICKLE_GLOBAL, .number = (int64_t)i});
    }
    if (n_module >= GLOBAL_MAX_BYTES) n_module = GLOBAL_MAX_BYTES - 1;
    if (n_name >= GLOBAL_MAX_BYTES) n_name = GLOBAL_MAX_BYTES - 1;
    snprintf(text, sizeof text, "%.*s.%.*s", (int)n_module, module, (int)n_name, name);
    for (char *c = text; *c; c++) *c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    return REFUSE(m, IO_ERR_UNSUPPORTED,
                  "refused: the pickle asks for %s; samed executes nothing and reads only dicts of tensors; save the model's state_dict() "
                  "alone with torch.save",
                  text);
}

static io_status run_global(machine *m)
{
    const char *const module = (const char *)m->bytes + m->at;
    const char *const end = (const char *)m->bytes + m->n_bytes;
    const char *const split = memchr(module, '\n', (size_t)(end - module));
    const char *const stop = split ? memchr(split + 1, '\n', (size_t)(end - split - 1)) : NULL;

    if (!stop) return REFUSE(m, IO_ERR_TRUNCATED, "the pickle ends inside an instruction");
    m->at += (size_t)(stop + 1 - module);
    return push_global(m, module, (size_t)(split - module), split + 1, (size_t)(stop - split - 1));
}

static io_status run_stack_global(machine *m)
{
    const io_pickle_value *values;
    uint32_t module, name;

    IO_TRY(pop(m, &name));
    IO_TRY(pop(m, &module));
    values = m->pickle->values;
    if (values[module].kind != IO_PICKLE_TEXT || values[name].kind != IO_PICKLE_TEXT)
        return REFUSE(m, IO_ERR_FORMAT, "a global whose name is not a text");
    return push_global(m, values[module].text, values[module].n_text, values[name].text, values[name].n_text);
}

/* Replaces the values from the stack's slot first on (and nothing below) by one tuple of them. */
static io_status gather_tuple(machine *m, size_t first, size_t n_drop)
{
    const size_t end = m->n_stack;
    uint32_t tuple;

    IO_TRY(push_new(m, (io_pickle_value){.kind = IO_PICKLE_TUPLE}));
    tuple = m->stack[end];
    for (size_t i = first; i < end; i++) IO_TRY(append(m, tuple, m->stack[i]));
    m->n_stack = first - n_drop;
    return push(m, tuple);
}

static io_status run_tuple(machine *m, int op)
{
    const size_t n = op == OP_EMPTY_TUPLE ? 0 : (size_t)(op - OP_TUPLE1 + 1);
    size_t mark;

    if (op == OP_TUPLE) {
        IO_TRY(find_mark(m, &mark));
        return gather_tuple(m, mark + 1, 1);
    }
    for (size_t i = 1; i <= n; i++) {
        if (i > m->n_stack || m->stack[m->n_stack - i] == MARK)
            return REFUSE(m, IO_ERR_FORMAT, "the pickle takes a value that it never made");
    }
    return gather_tuple(m, m->n_stack - n, 0);
}

/* Appends the stack's values from slot first on to the dict or list below them. n_drop: 1 where a mark lies between. */
static io_status fill_container(machine *m, size_t first, size_t n_drop, io_pickle_kind kind)
{
    const size_t below = first - n_drop;
    uint32_t container;

    if (below == 0 || m->stack[below - 1] == MARK || m->pickle->values[m->stack[below - 1]].kind != kind)
        return REFUSE(m, IO_ERR_FORMAT, "the pickle adds items to what is no %s", kind == IO_PICKLE_DICT ? "dict" : "list");
    if (kind == IO_PICKLE_DICT && (m->n_stack - first) % 2 != 0) return REFUSE(m, IO_ERR_FORMAT, "a dict key without a value");
    container = m->stack[below - 1];
    for (size_t i = first; i < m->n_stack; i++) IO_TRY(append(m, container, m->stack[i]));
    m->n_stack = below;
    return IO_OK;
}

static io_status run_fill(machine *m, int op)
{
    const io_pickle_kind kind = op == OP_SETITEM || op == OP_SETITEMS ? IO_PICKLE_DICT : IO_PICKLE_LIST;
    const size_t n = op == OP_SETITEM ? 2 : 1;
    size_t mark;

    if (op == OP_SETITEMS || op == OP_APPENDS) {
        IO_TRY(find_mark(m, &mark));
        return fill_container(m, mark + 1, 1, kind);
    }
    for (size_t i = 1; i <= n; i++) {
        if (i > m->n_stack || m->stack[m->n_stack - i] == MARK)
            return REFUSE(m, IO_ERR_FORMAT, "the pickle takes a value that it never made");
    }
    return fill_container(m, m->n_stack - n, 0, kind);
}

/* "Call": noted, not done. Only the empty OrderedDict becomes what it stands for, as later instructions fill it. */
static io_status run_reduce(machine *m)
{
    const io_pickle_value *values;
    uint32_t arguments, callee;
    io_pickle_value call = {.kind = IO_PICKLE_CALL};

    IO_TRY(pop(m, &arguments));
    IO_TRY(pop(m, &callee));
    values = m->pickle->values;
    if (values[callee].kind != IO_PICKLE_GLOBAL || values[arguments].kind != IO_PICKLE_TUPLE)
        return REFUSE(m, IO_ERR_FORMAT, "the pickle calls what is no function");
    if (values[callee].number == 0) {
        if (values[arguments].n_items) return REFUSE(m, IO_ERR_UNSUPPORTED, "refused: an OrderedDict made from arguments");
        return push_new(m, (io_pickle_value){.kind = IO_PICKLE_DICT});
    }
    call.number = values[callee].number;
    call.n_items = values[arguments].n_items;
    call.first = values[arguments].first;
    call.last = values[arguments].last;
    return push_new(m, call);
}

/* A dict's attributes (the _metadata of a state dict) are dropped; nothing else may have a state. */
static io_status run_build(machine *m)
{
    uint32_t state;

    IO_TRY(pop(m, &state));
    if (m->n_stack == 0 || m->stack[m->n_stack - 1] == MARK || m->pickle->values[m->stack[m->n_stack - 1]].kind != IO_PICKLE_DICT)
        return REFUSE(m, IO_ERR_UNSUPPORTED, "refused: the pickle restores the inside of an object; save the state_dict() alone");
    return IO_OK;
}

static io_status run_stored(machine *m)
{
    uint32_t id;

    IO_TRY(pop(m, &id));
    IO_TRY(push_new(m, (io_pickle_value){.kind = IO_PICKLE_STORED}));
    return append(m, m->stack[m->n_stack - 1], id);
}

static io_status remember(machine *m, int64_t slot)
{
    if (m->n_stack == 0 || m->stack[m->n_stack - 1] == MARK) return REFUSE(m, IO_ERR_FORMAT, "the pickle remembers what it never made");
    if (slot < 0 || slot >= VALUES_MAX)
        return REFUSE(m, IO_ERR_UNSUPPORTED, "memo slot %lld; at most %d are kept", (long long)slot, VALUES_MAX);
    while ((size_t)slot >= m->n_memo) {
        IO_TRY(make_room((void **)&m->memo, m->n_memo, &m->room_memo, sizeof *m->memo));
        m->memo[m->n_memo++] = MARK;
    }
    m->memo[slot] = m->stack[m->n_stack - 1];
    m->memo_next++;
    return IO_OK;
}

static io_status recall(machine *m, int64_t slot)
{
    if ((uint64_t)slot >= m->n_memo || m->memo[slot] == MARK)
        return REFUSE(m, IO_ERR_FORMAT, "the pickle recalls memo slot %lld, which is empty", (long long)slot);
    return push(m, m->memo[slot]);
}

static io_status run_memo(machine *m, int op)
{
    int64_t slot = m->memo_next;

    if (op == OP_MEMOIZE) return remember(m, slot);
    IO_TRY(take_number(m, op == OP_BINPUT || op == OP_BINGET ? 1 : 4, false, &slot));
    return op == OP_BINPUT || op == OP_LONG_BINPUT ? remember(m, slot) : recall(m, slot);
}

static io_status run_protocol(machine *m, int op)
{
    int64_t number;

    if (op == OP_FRAME) return take_number(m, 8, false, &number); /* only a hint for buffered reading */
    IO_TRY(take_number(m, 1, false, &number));
    if (number > 5) return REFUSE(m, IO_ERR_UNSUPPORTED, "pickle protocol %d; 2 to 5 are read", (int)number);
    return IO_OK;
}

static io_status run_op(machine *m, int op)
{
    switch (op) {
    case OP_PROTO:
    case OP_FRAME: return run_protocol(m, op);
    case OP_MARK: return push(m, MARK);
    case OP_NONE: return push_new(m, (io_pickle_value){.kind = IO_PICKLE_NONE});
    case OP_NEWTRUE:
    case OP_NEWFALSE: return push_new(m, (io_pickle_value){.kind = IO_PICKLE_BOOL, .number = op == OP_NEWTRUE});
    case OP_BININT:
    case OP_BININT1:
    case OP_BININT2:
    case OP_LONG1: return run_number(m, op);
    case OP_BINFLOAT: return run_real(m);
    case OP_BINUNICODE:
    case OP_SHORT_BINUNICODE: return run_text(m, op);
    case OP_EMPTY_LIST: return push_new(m, (io_pickle_value){.kind = IO_PICKLE_LIST});
    case OP_EMPTY_DICT: return push_new(m, (io_pickle_value){.kind = IO_PICKLE_DICT});
    case OP_EMPTY_TUPLE:
    case OP_TUPLE:
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3: return run_tuple(m, op);
    case OP_APPEND:
    case OP_APPENDS:
    case OP_SETITEM:
    case OP_SETITEMS: return run_fill(m, op);
    case OP_GLOBAL: return run_global(m);
    case OP_STACK_GLOBAL: return run_stack_global(m);
    case OP_BINPERSID: return run_stored(m);
    case OP_REDUCE: return run_reduce(m);
    case OP_BUILD: return run_build(m);
    case OP_BINPUT:
    case OP_LONG_BINPUT:
    case OP_BINGET:
    case OP_LONG_BINGET:
    case OP_MEMOIZE: return run_memo(m, op);
    default:
        return REFUSE(m, IO_ERR_UNSUPPORTED,
                      "refused: pickle instruction 0x%02x is not one that a dict of tensors needs; samed executes nothing", (unsigned)op);
    }
}

static io_status run(machine *m)
{
    for (;;) {
        const uint8_t *op = NULL;

        m->op_at = m->at;
        IO_TRY(take(m, 1, &op));
        if (*op == OP_STOP) break;
        IO_TRY(run_op(m, *op));
    }
    if (m->at != m->n_bytes) return REFUSE(m, IO_ERR_FORMAT, "%zu bytes follow the end of the pickle", m->n_bytes - m->at);
    IO_TRY(pop(m, &m->pickle->root));
    if (m->n_stack) return REFUSE(m, IO_ERR_FORMAT, "the pickle leaves %zu values behind", m->n_stack);
    return IO_OK;
}

io_status io_pickle_read(const uint8_t *bytes, size_t n_bytes, const char *name, const char *const *globals, size_t n_globals,
                         io_pickle **out)
{
    io_status status = IO_OK;
    machine m = {.bytes = bytes, .n_bytes = n_bytes, .name = name, .globals = globals, .n_globals = n_globals};

    *out = NULL;
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *m.pickle, (void **)&m.pickle));
    m.pickle->n_values = 1;
    m.pickle->n_links = 1;
    IO_TRY_GOTO(status, done, make_room((void **)&m.pickle->values, 0, &m.room_values, sizeof *m.pickle->values));
    IO_TRY_GOTO(status, done, make_room((void **)&m.pickle->links, 0, &m.room_links, sizeof *m.pickle->links));
    IO_TRY_GOTO(status, done, run(&m));
    *out = m.pickle;
    m.pickle = NULL;
done:
    io_pickle_free(&m.pickle);
    io_free(&m.stack);
    io_free(&m.memo);
    return status;
}

void io_pickle_free(io_pickle **pickle)
{
    if (!pickle || !*pickle) return;
    io_free(&(*pickle)->values);
    io_free(&(*pickle)->links);
    io_free(pickle);
}

const io_pickle_value *io_pickle_root(const io_pickle *pickle)
{
    return &pickle->values[pickle->root];
}

const io_pickle_value *io_pickle_item(const io_pickle *pickle, const io_pickle_value *value, uint32_t index)
{
    uint32_t link = index < value->n_items ? value->first : 0;

    for (; link && index; index--) link = pickle->links[link].next;
    return link ? &pickle->values[pickle->links[link].value] : NULL;
}

bool io_pickle_is_text(const io_pickle_value *value, const char *text)
{
    return value && value->kind == IO_PICKLE_TEXT && value->n_text == strlen(text) && memcmp(value->text, text, value->n_text) == 0;
}
