/* SHA-256 against the examples NIST publishes for FIPS 180-4, whole and in pieces, from memory and from files. */
#include "tests/check.h"

#include "io/file.h"
#include "io/hash.h"

static const struct {
    const char *text;
    const char *hex;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};
enum { N_VECTORS = sizeof vectors / sizeof *vectors };
/* One million times "a" (FIPS 180-4 examples, SHA256 additional). */
static const char million_hex[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void test_bytes_match_fips_examples(void **state)
{
    char hex[65];

    for (int i = 0; i < N_VECTORS; i++) {
        check_ok(io_hash_bytes(vectors[i].text, strlen(vectors[i].text), hex));
        assert_string_equal(hex, vectors[i].hex);
    }
}

static void test_pieces_equal_the_whole(void **state)
{
    char piece[997], hex[65];
    io_hash *hash;

    memset(piece, 'a', sizeof piece);
    check_ok(io_hash_create(&hash));
    for (size_t n_done = 0; n_done < 1000000;) {
        const size_t n = 1000000 - n_done < sizeof piece ? 1000000 - n_done : sizeof piece;
        check_ok(io_hash_update(hash, piece, n));
        n_done += n;
    }
    check_ok(io_hash_hex(hash, hex));
    assert_string_equal(hex, million_hex);
    io_hash_free(&hash);
    assert_null(hash);
    io_hash_free(&hash);
}

static void test_hex_may_be_asked_for_in_between(void **state)
{
    char hex[65];
    io_hash *hash;

    check_ok(io_hash_create(&hash));
    check_ok(io_hash_hex(hash, hex));
    assert_string_equal(hex, vectors[0].hex);
    check_ok(io_hash_update(hash, "abc", 3));
    check_ok(io_hash_hex(hash, hex));
    assert_string_equal(hex, vectors[1].hex);
    check_ok(io_hash_update(hash, vectors[2].text + 3, strlen(vectors[2].text) - 3));
    check_ok(io_hash_hex(hash, hex));
    assert_string_equal(hex, vectors[2].hex);
    io_hash_free(&hash);
}

static void test_files_hash_like_bytes(void **state)
{
    char hex[65], *text = malloc(1000001);

    memset(text, 'a', 1000000);
    text[1000000] = 0;
    check_ok(io_file_write_text("hash_million.txt", text));
    check_ok(io_hash_file("hash_million.txt", hex));
    assert_string_equal(hex, million_hex);
    check_ok(io_file_write_text("hash_million.txt", ""));
    check_ok(io_hash_file("hash_million.txt", hex));
    assert_string_equal(hex, vectors[0].hex);
    check_ok(io_file_remove("hash_million.txt"));
    check_fails(IO_ERR_NOT_FOUND, io_hash_file("hash_million.txt", hex));
    check_fails(IO_ERR_FILE, io_hash_file(".", hex));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_match_fips_examples),
        cmocka_unit_test(test_pieces_equal_the_whole),
        cmocka_unit_test(test_hex_may_be_asked_for_in_between),
        cmocka_unit_test(test_files_hash_like_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
