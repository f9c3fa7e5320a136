/* Seeded weights: the layouts of SAM's and SAMed's files (counts: spec 1.6, 2.2, 2.3; every name and shape is compared with reference files
 * in tests/golden), and values that are the same everywhere and spread as promised. */
#include "tests/check.h"

#include "io/hash.h"
#include "pipeline/seeded.h"

static size_t count_elements(const io_tensors *list)
{
    size_t n = 0;
    for (size_t i = 0; i < io_tensors_count(list); i++) n += io_tensors_at(list, i)->n_elements;
    return n;
}

static size_t count_parameters(const io_tensors *list)
{
    size_t n = 0;
    for (size_t i = 0; i < io_tensors_count(list); i++) n += io_tensors_at(list, i)->is_parameter;
    return n;
}

static void check_shape(const io_tensors *list, const char *name, const char *expected)
{
    const io_tensor *tensor = io_tensors_find(list, name);
    char shape[64];

    if (!tensor) fail_msg("%s is missing", name);
    io_tensor_shape_text(tensor->n_dims, tensor->shape, shape, sizeof shape);
    if (strcmp(shape, expected) != 0) fail_msg("%s: expected %s, found %s", name, expected, shape);
}

static float read_value(const io_tensors *list, const char *name, size_t index)
{
    const io_tensor *tensor = io_tensors_find(list, name);
    float value;

    assert_non_null(tensor);
    assert_true(index < tensor->n_elements);
    memcpy(&value, tensor->data + index * sizeof value, sizeof value);
    return value;
}

static void test_vit_b_has_the_layout_of_the_published_files(void **state)
{
    io_tensors *sam, *adapter;

    check_ok(pipe_seeded_create("vit_b", 1, 4, 8, 0, &sam, &adapter));
    assert_int_equal(io_tensors_count(sam), 314);
    assert_int_equal(count_elements(sam), 93735728);
    assert_int_equal(count_parameters(sam), 0);
    assert_int_equal(io_tensors_count(adapter), 215);
    assert_int_equal(count_elements(adapter), 4913877);
    assert_int_equal(count_parameters(adapter), 48);
    check_shape(sam, "image_encoder.pos_embed", "[1,64,64,768]");
    check_shape(sam, "image_encoder.blocks.2.attn.rel_pos_h", "[127,64]");
    check_shape(sam, "image_encoder.blocks.3.attn.rel_pos_w", "[27,64]");
    check_shape(adapter, "w_a_023", "[4,768]");
    check_shape(adapter, "mask_decoder.mask_tokens.weight", "[9,256]");
    io_tensors_free(&sam);
    io_tensors_free(&adapter);
}

static void test_samed_s_has_its_own_layout(void **state)
{
    io_tensors *adapter;

    check_ok(pipe_seeded_create("vit_b", 1, 4, 8, 1, NULL, &adapter));
    assert_int_equal(io_tensors_count(adapter), 161);
    assert_int_equal(count_elements(adapter), 1646165);
    assert_int_equal(count_parameters(adapter), 76);
    assert_string_equal(io_tensors_at(adapter, 0)->name, "w_a_000");
    assert_string_equal(io_tensors_at(adapter, 160)->name, "fati_vb");
    for (size_t i = 0; i < 161; i++) assert_null(strstr(io_tensors_at(adapter, i)->name, "transformer"));
    check_shape(adapter, "cit_b_003", "[128,4]");
    io_tensors_free(&adapter);
}

static void test_tiny_follows_rank_and_classes(void **state)
{
    io_tensors *sam, *adapter;

    check_ok(pipe_seeded_create("tiny", 1, 3, 2, 0, &sam, &adapter));
    check_shape(sam, "image_encoder.pos_embed", "[1,8,8,32]");
    check_shape(sam, "image_encoder.patch_embed.proj.weight", "[32,3,16,16]");
    check_shape(sam, "image_encoder.blocks.0.attn.rel_pos_h", "[5,16]");
    check_shape(sam, "image_encoder.blocks.1.attn.rel_pos_h", "[15,16]");
    check_shape(sam, "image_encoder.neck.0.weight", "[256,32,1,1]");
    assert_null(io_tensors_find(sam, "image_encoder.blocks.2.norm1.weight"));
    check_shape(adapter, "w_a_003", "[3,32]");
    check_shape(adapter, "w_b_003", "[32,3]");
    check_shape(adapter, "mask_decoder.iou_prediction_head.layers.2.weight", "[3,256]");
    assert_null(io_tensors_find(adapter, "w_a_004"));
    io_tensors_free(&sam);
    io_tensors_free(&adapter);
}

/* Its position tables are those of 256 pixels: at that size nothing is resized. */
static void test_small_is_made_for_256_pixels(void **state)
{
    io_tensors *sam;

    check_ok(pipe_seeded_create("small", 1, 0, 0, 0, &sam, NULL));
    check_shape(sam, "image_encoder.pos_embed", "[1,16,16,128]");
    check_shape(sam, "image_encoder.blocks.0.attn.rel_pos_h", "[27,32]");
    check_shape(sam, "image_encoder.blocks.1.attn.rel_pos_h", "[31,32]");
    check_shape(sam, "image_encoder.blocks.3.attn.rel_pos_w", "[31,32]");
    assert_null(io_tensors_find(sam, "image_encoder.blocks.4.norm1.weight"));
    io_tensors_free(&sam);
}

/* Values of tests/golden/make_seeded.py, which has a Philox of its own. Exact: no rounding depends on the machine. */
static void test_values_are_those_of_the_definition(void **state)
{
    static const struct {
        uint64_t seed;
        const char *name;
        size_t index;
        float value;
    } rows[] = {
        {1U, "image_encoder.pos_embed", 0, 0x1.1ef3be0000000p-3F},
        {1U, "image_encoder.pos_embed", 1, 0x1.1c6f6c0000000p-2F},
        {1U, "image_encoder.pos_embed", 2047, -0x1.d5df780000000p-2F},
        {1099511627776U, "mask_decoder.iou_token.weight", 255, 0x1.f188180000000p-2F},
        {7U, "prompt_encoder.no_mask_embed.weight", 100, 0x1.32f3b00000000p-2F},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        io_tensors *sam;
        check_ok(pipe_seeded_create("tiny", rows[i].seed, 0, 0, 0, &sam, NULL));
        check_near(read_value(sam, rows[i].name, rows[i].index), rows[i].value, 0);
        io_tensors_free(&sam);
    }
}

/* SHA-256 over all values in order. */
static void hash_list(const io_tensors *list, char out[65])
{
    io_hash *hash;

    check_ok(io_hash_create(&hash));
    for (size_t i = 0; i < io_tensors_count(list); i++)
        check_ok(io_hash_update(hash, io_tensors_at(list, i)->data, io_tensors_at(list, i)->n_elements * sizeof(float)));
    check_ok(io_hash_hex(hash, out));
    io_hash_free(&hash);
}

static void test_seed_decides_everything(void **state)
{
    char hashes[3][65];

    for (int i = 0; i < 3; i++) {
        io_tensors *sam;
        check_ok(pipe_seeded_create("tiny", i == 2 ? 6 : 5, 0, 0, 0, &sam, NULL));
        hash_list(sam, hashes[i]);
        io_tensors_free(&sam);
    }
    assert_string_equal(hashes[0], hashes[1]);
    assert_string_not_equal(hashes[0], hashes[2]);
}

/* Mean and mean square of n values, and the mean product with another tensor of the same size. */
static void measure(const io_tensors *list, const char *name, const char *other, double *mean, double *square, double *product)
{
    const size_t n = io_tensors_find(list, name)->n_elements;

    *mean = *square = *product = 0;
    for (size_t i = 0; i < n; i++) {
        const double x = read_value(list, name, i), y = read_value(list, other, i);
        *mean += x / (double)n;
        *square += x * x / (double)n;
        *product += x * y / (double)n;
    }
}

/* 524288 draws: their mean has deviation 1/724 and their mean square about 1.3/724 (the fourth moment of the sum of four is 2.7); the
 * bounds are five such deviations. */
static void test_values_are_spread_as_promised(void **state)
{
    io_tensors *sam;
    double mean, square, product;

    check_ok(pipe_seeded_create("tiny", 3, 0, 0, 0, &sam, NULL));
    measure(sam, "mask_decoder.transformer.layers.0.mlp.lin1.weight", "mask_decoder.transformer.layers.1.mlp.lin1.weight", &mean, &square,
            &product);
    check_near(mean * 16 / 1.2, 0, 5.0 / 724);
    check_near(square * 256 / 1.44, 1, 6.5 / 724);
    check_near(product * 256 / 1.44, 0, 5.0 / 724);
    measure(sam, "image_encoder.neck.1.weight", "image_encoder.neck.3.weight", &mean, &square, &product);
    check_near(mean, 1, 5 * 0.2 / 16);
    io_tensors_free(&sam);
}

static void test_impossible_requests_are_refused(void **state)
{
    io_tensors *sam = NULL, *adapter = NULL;

    check_fails(IO_ERR_ARGUMENT, pipe_seeded_create("vit_x", 1, 4, 8, 0, &sam, &adapter));
    check_fails(IO_ERR_ARGUMENT, pipe_seeded_create("tiny", 1, 0, 8, 0, &sam, &adapter));
    check_fails(IO_ERR_ARGUMENT, pipe_seeded_create("tiny", 1, 4, 0, 0, &sam, &adapter));
    check_fails(IO_ERR_ARGUMENT, pipe_seeded_create("tiny", 1, 4, 100000, 0, &sam, &adapter));
    assert_null(sam);
    assert_null(adapter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vit_b_has_the_layout_of_the_published_files),
        cmocka_unit_test(test_samed_s_has_its_own_layout),
        cmocka_unit_test(test_tiny_follows_rank_and_classes),
        cmocka_unit_test(test_small_is_made_for_256_pixels),
        cmocka_unit_test(test_values_are_those_of_the_definition),
        cmocka_unit_test(test_seed_decides_everything),
        cmocka_unit_test(test_values_are_spread_as_promised),
        cmocka_unit_test(test_impossible_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
