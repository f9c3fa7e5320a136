/* See dnnl.h. Products are "matmul" primitives: they take row strides, "inner_product" falls back to plain loops there. */
#include "model/cpu/dnnl.h"

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"

enum { MAX_PLANS = 32, MAX_PACKS = 4 };

#define DNNL_TRY(call)                                                                                                                     \
    do {                                                                                                                                   \
        const dnnl_status_t dnnl_try_status = (call);                                                                                      \
        if (dnnl_try_status != dnnl_success) return IO_FAIL(IO_ERR_DEVICE, "oneDNN: %s failed with %d", #call, (int)dnnl_try_status);      \
    } while (0)

/* Version 3 made memory descriptors opaque and folded operation descriptors into primitive descriptors. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout_ref;

static io_status make_layout(dnnl_memory_desc_t *out, const dnnl_dims_t dims, dnnl_data_type_t type, const dnnl_dims_t strides)
{
    if (strides)
        DNNL_TRY(dnnl_memory_desc_create_with_strides(out, 2, dims, type, strides));
    else
        DNNL_TRY(dnnl_memory_desc_create_with_tag(out, 2, dims, type, dnnl_format_tag_any));
    return IO_OK;
}

static void free_layout(dnnl_memory_desc_t *layout)
{
    dnnl_memory_desc_destroy(*layout);
}

static layout_ref refer(const dnnl_memory_desc_t *layout)
{
    return *layout;
}

static io_status describe_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_primitive_attr_t attributes,
                                  const dnnl_memory_desc_t layouts[4], bool has_bias)
{
    DNNL_TRY(dnnl_matmul_primitive_desc_create(out, engine, layouts[0], layouts[1], has_bias ? layouts[2] : NULL, layouts[3], attributes));
    return IO_OK;
}

static io_status append_function(dnnl_post_ops_t steps, dnnl_alg_kind_t function)
{
    DNNL_TRY(dnnl_post_ops_append_eltwise(steps, function, 0, 0));
    return IO_OK;
}

static io_status append_sum(dnnl_post_ops_t steps)
{
    DNNL_TRY(dnnl_post_ops_append_sum(steps, 1, 0, dnnl_data_type_undef));
    return IO_OK;
}
#else
typedef const dnnl_memory_desc_t *layout_ref;

static io_status make_layout(dnnl_memory_desc_t *out, const dnnl_dims_t dims, dnnl_data_type_t type, const dnnl_dims_t strides)
{
    if (strides)
        DNNL_TRY(dnnl_memory_desc_init_by_strides(out, 2, dims, type, strides));
    else
        DNNL_TRY(dnnl_memory_desc_init_by_tag(out, 2, dims, type, dnnl_format_tag_any));
    return IO_OK;
}

static void free_layout(dnnl_memory_desc_t *layout) /* a plain value in version 2 */
{
    memset(layout, 0, sizeof *layout);
}

static layout_ref refer(const dnnl_memory_desc_t *layout)
{
    return layout;
}

static io_status describe_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_primitive_attr_t attributes,
                                  const dnnl_memory_desc_t layouts[4], bool has_bias)
{
    dnnl_matmul_desc_t operation;

    DNNL_TRY(dnnl_matmul_desc_init(&operation, &layouts[0], &layouts[1], has_bias ? &layouts[2] : NULL, &layouts[3]));
    DNNL_TRY(dnnl_primitive_desc_create(out, &operation, attributes, engine, NULL));
    return IO_OK;
}

static io_status append_function(dnnl_post_ops_t steps, dnnl_alg_kind_t function)
{
    DNNL_TRY(dnnl_post_ops_append_eltwise(steps, 1, function, 0, 0));
    return IO_OK;
}

static io_status append_sum(dnnl_post_ops_t steps)
{
    DNNL_TRY(dnnl_post_ops_append_sum(steps, 1));
    return IO_OK;
}
#endif

struct onednn_context {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int n_threads;
};

/* What a primitive was made for. */
typedef struct plan_key {
    int M;
    int64_t in_stride, out_stride;
    model_type out_type;
    model_epilogue epilogue;
    bool has_bias;
} plan_key;

typedef struct plan {
    plan_key key;
    dnnl_primitive_t primitive;
    dnnl_memory_t in, bias, out; /* their pointers are set in each call */
    int pack;
} plan;

struct onednn_weight {
    onednn_context *context;
    int n_out, n_in;
    model_type type;
    int n_packs, n_plans;
    dnnl_memory_t packs[MAX_PACKS]; /* the first in the layout for the typical number of rows, others where a shape wants another */
    plan plans[MAX_PLANS];
};

bool onednn_is_wanted(void)
{
    const char *choice = getenv("SAMED_PRODUCTS");

    return choice && !strcmp(choice, "onednn");
}

void onednn_version(char *out)
{
    const dnnl_version_t *version = dnnl_version();

    snprintf(out, 32, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
}

static dnnl_data_type_t type_of(model_type type)
{
    return type == MODEL_BF16 ? dnnl_bf16 : dnnl_f32;
}

io_status onednn_context_create(int n_threads, onednn_context **out)
{
    onednn_context *made;

    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    made->n_threads = n_threads;
    if (dnnl_engine_create(&made->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&made->stream, made->engine, dnnl_stream_default_flags) != dnnl_success) {
        onednn_context_free(&made);
        return IO_FAIL(IO_ERR_DEVICE, "oneDNN has no CPU engine here");
    }
    *out = made;
    return IO_OK;
}

void onednn_context_free(onednn_context **context)
{
    if (!context || !*context) return;
    if ((*context)->stream) dnnl_stream_destroy((*context)->stream);
    if ((*context)->engine) dnnl_engine_destroy((*context)->engine);
    io_free(context);
}

/* Creates `to` in a layout and fills it from another memory. */
static io_status copy_to_layout(onednn_context *context, dnnl_memory_t from, layout_ref from_layout, layout_ref layout, dnnl_memory_t *to)
{
    io_status status = IO_OK;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t reorder = NULL;

    DNNL_TRY(dnnl_memory_create(to, layout, context->engine, DNNL_MEMORY_ALLOCATE));
    if (dnnl_reorder_primitive_desc_create(&description, from_layout, context->engine, layout, context->engine, NULL) != dnnl_success ||
        dnnl_primitive_create(&reorder, description) != dnnl_success) {
        status = IO_FAIL(IO_ERR_DEVICE, "oneDNN cannot pack a weight");
    } else {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, *to}};

        if (dnnl_primitive_execute(reorder, context->stream, 2, arguments) != dnnl_success ||
            dnnl_stream_wait(context->stream) != dnnl_success)
            status = IO_FAIL(IO_ERR_DEVICE, "oneDNN failed to pack a weight");
    }
    if (reorder) dnnl_primitive_destroy(reorder);
    if (description) dnnl_primitive_desc_destroy(description);
    return status;
}

/* The layouts of in, weight (any), bias and out of a product. */
static io_status make_layouts(const onednn_weight *weight, const plan_key *key, dnnl_memory_desc_t layouts[4])
{
    const int64_t M = key->M, n_in = weight->n_in, n_out = weight->n_out;

    IO_TRY(make_layout(&layouts[0], (dnnl_dims_t){M, n_in}, type_of(weight->type), (dnnl_dims_t){key->in_stride, 1}));
    IO_TRY(make_layout(&layouts[1], (dnnl_dims_t){n_in, n_out}, type_of(weight->type), NULL));
    IO_TRY(make_layout(&layouts[2], (dnnl_dims_t){1, n_out}, dnnl_f32, (dnnl_dims_t){n_out, 1}));
    return make_layout(&layouts[3], (dnnl_dims_t){M, n_out}, type_of(key->out_type), (dnnl_dims_t){key->out_stride, 1});
}

static io_status add_epilogue(dnnl_primitive_attr_t attributes, dnnl_post_ops_t steps, model_epilogue epilogue)
{
    if (epilogue == MODEL_GELU) IO_TRY(append_function(steps, dnnl_eltwise_gelu_erf));
    if (epilogue == MODEL_RELU) IO_TRY(append_function(steps, dnnl_eltwise_relu));
    if (epilogue == MODEL_ADD) IO_TRY(append_sum(steps));
    DNNL_TRY(dnnl_primitive_attr_set_post_ops(attributes, steps));
    return IO_OK;
}

static io_status describe(const onednn_weight *weight, const plan_key *key, const dnnl_memory_desc_t layouts[4], dnnl_primitive_desc_t *out)
{
    io_status status = IO_OK;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t steps = NULL;

    if (dnnl_primitive_attr_create(&attributes) != dnnl_success || dnnl_post_ops_create(&steps) != dnnl_success)
        status = IO_FAIL(IO_ERR_MEMORY, "oneDNN: out of memory");
    if (status == IO_OK) status = add_epilogue(attributes, steps, key->epilogue);
    if (status == IO_OK) status = describe_product(out, weight->context->engine, attributes, layouts, key->has_bias);
    if (steps) dnnl_post_ops_destroy(steps);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    return status;
}

static layout_ref layout_of(dnnl_memory_t memory)
{
#if DNNL_VERSION_MAJOR >= 3
    const_dnnl_memory_desc_t layout = NULL;
#else
    const dnnl_memory_desc_t *layout = NULL;
#endif

    dnnl_memory_get_memory_desc(memory, &layout);
    return layout;
}

/* The pack in this layout, made from the first one when it is not there yet. */
static io_status find_pack(onednn_weight *weight, layout_ref layout, int *index)
{
    for (*index = 0; *index < weight->n_packs; ++*index)
        if (dnnl_memory_desc_equal(layout_of(weight->packs[*index]), layout)) return IO_OK;
    if (weight->n_packs == MAX_PACKS) return IO_FAIL(IO_ERR_DEVICE, "oneDNN wants more than %d layouts of one weight", MAX_PACKS);
    IO_TRY(copy_to_layout(weight->context, weight->packs[0], layout_of(weight->packs[0]), layout, &weight->packs[weight->n_packs]));
    weight->n_packs++;
    return IO_OK;
}

static io_status fill_plan(onednn_weight *weight, const dnnl_memory_desc_t layouts[4], dnnl_primitive_desc_t description, plan *made)
{
    dnnl_engine_t engine = weight->context->engine;

    IO_TRY(find_pack(weight, dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0), &made->pack));
    DNNL_TRY(dnnl_primitive_create(&made->primitive, description));
    DNNL_TRY(dnnl_memory_create(&made->in, refer(&layouts[0]), engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&made->bias, refer(&layouts[2]), engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&made->out, refer(&layouts[3]), engine, DNNL_MEMORY_NONE));
    return IO_OK;
}

static void free_plan(plan *old)
{
    if (old->primitive) dnnl_primitive_destroy(old->primitive);
    if (old->in) dnnl_memory_destroy(old->in);
    if (old->bias) dnnl_memory_destroy(old->bias);
    if (old->out) dnnl_memory_destroy(old->out);
    memset(old, 0, sizeof *old);
}

/* Makes the primitive of a shape. */
static io_status make_plan(onednn_weight *weight, const plan_key *key, plan *made)
{
    io_status status;
    dnnl_memory_desc_t layouts[4];
    dnnl_primitive_desc_t description = NULL;

    memset(layouts, 0, sizeof layouts);
    memset(made, 0, sizeof *made);
    made->key = *key;
    IO_TRY_GOTO(status, done, make_layouts(weight, key, layouts));
    IO_TRY_GOTO(status, done, describe(weight, key, layouts, &description));
    IO_TRY_GOTO(status, done, fill_plan(weight, layouts, description, made));
done:
    if (status != IO_OK) free_plan(made);
    if (description) dnnl_primitive_desc_destroy(description);
    for (int i = 0; i < 4; i++) free_layout(&layouts[i]);
    return status;
}

static bool same_key(const plan_key *a, const plan_key *b)
{
    return a->M == b->M && a->in_stride == b->in_stride && a->out_stride == b->out_stride && a->out_type == b->out_type &&
           a->epilogue == b->epilogue && a->has_bias == b->has_bias;
}

static io_status find_plan(onednn_weight *weight, const plan_key *key, plan **out)
{
    int i = 0;

    while (i < weight->n_plans && !same_key(&weight->plans[i].key, key)) i++;
    if (i == MAX_PLANS) free_plan(&weight->plans[i = key->M % MAX_PLANS]); /* many shapes: make room for this one */
    if (i >= weight->n_plans || !weight->plans[i].primitive) IO_TRY(make_plan(weight, key, &weight->plans[i]));
    if (i >= weight->n_plans) weight->n_plans = i + 1;
    *out = &weight->plans[i];
    return IO_OK;
}

/* The layout that oneDNN likes for so many rows, filled from the plain weight. */
static io_status pack_first(onednn_weight *weight, const float *values, int typical_rows)
{
    io_status status;
    const plan_key key = {typical_rows, weight->n_in, weight->n_out, MODEL_F32, MODEL_STORE, false};
    dnnl_memory_desc_t layouts[4], plain;
    dnnl_primitive_desc_t description = NULL;
    dnnl_memory_t source = NULL;

    memset(layouts, 0, sizeof layouts);
    memset(&plain, 0, sizeof plain);
    IO_TRY_GOTO(status, done, make_layouts(weight, &key, layouts));
    IO_TRY_GOTO(status, done, describe(weight, &key, layouts, &description));
    IO_TRY_GOTO(status, done, make_layout(&plain, (dnnl_dims_t){weight->n_in, weight->n_out}, dnnl_f32, (dnnl_dims_t){1, weight->n_in}));
    if (dnnl_memory_create(&source, refer(&plain), weight->context->engine, (void *)values) != dnnl_success) {
        status = IO_FAIL(IO_ERR_MEMORY, "oneDNN: out of memory");
        goto done;
    }
    IO_TRY_GOTO(status, done,
                copy_to_layout(weight->context, source, refer(&plain), dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0),
                               &weight->packs[0]));
    weight->n_packs = 1;
done:
    if (source) dnnl_memory_destroy(source);
    if (description) dnnl_primitive_desc_destroy(description);
    free_layout(&plain);
    for (int i = 0; i < 4; i++) free_layout(&layouts[i]);
    return status;
}

io_status onednn_weight_create(onednn_context *context, int n_out, int n_in, const float *weight, model_type type, int typical_rows,
                               onednn_weight **out)
{
    io_status status;
    onednn_weight *made;
    const int threads_before = omp_get_max_threads();

    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    made->context = context;
    made->n_out = n_out;
    made->n_in = n_in;
    made->type = type;
    omp_set_num_threads(context->n_threads); /* oneDNN plans and works for omp_get_max_threads() */
    status = pack_first(made, weight, typical_rows);
    omp_set_num_threads(threads_before);
    if (status == IO_OK)
        *out = made;
    else
        onednn_weight_free(&made);
    return status;
}

void onednn_weight_free(onednn_weight **weight)
{
    if (!weight || !*weight) return;
    for (int i = 0; i < (*weight)->n_plans; i++) free_plan(&(*weight)->plans[i]);
    for (int i = 0; i < MAX_PACKS; i++)
        if ((*weight)->packs[i]) dnnl_memory_destroy((*weight)->packs[i]);
    io_free(weight);
}

static io_status execute(onednn_weight *weight, const plan *made, void *out, void *in, const float *bias)
{
    dnnl_exec_arg_t arguments[4] = {{DNNL_ARG_SRC, made->in}, {DNNL_ARG_WEIGHTS, weight->packs[made->pack]}, {DNNL_ARG_DST, made->out}};

    DNNL_TRY(dnnl_memory_set_data_handle(made->in, in));
    DNNL_TRY(dnnl_memory_set_data_handle(made->out, out));
    if (bias) DNNL_TRY(dnnl_memory_set_data_handle(made->bias, (void *)bias));
    arguments[3] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, made->bias};
    DNNL_TRY(dnnl_primitive_execute(made->primitive, weight->context->stream, bias ? 4 : 3, arguments));
    DNNL_TRY(dnnl_stream_wait(weight->context->stream));
    return IO_OK;
}

io_status onednn_product(onednn_weight *weight, model_rows out, model_rows in, const float *bias, model_epilogue epilogue, int M)
{
    io_status status;
    const plan_key key = {M, in.stride, out.stride, out.type, epilogue, bias != NULL};
    const int threads_before = omp_get_max_threads();
    plan *made;

    omp_set_num_threads(weight->context->n_threads);
    status = find_plan(weight, &key, &made);
    if (status == IO_OK) status = execute(weight, made, out.data, in.data, bias);
    omp_set_num_threads(threads_before);
    return status;
}
