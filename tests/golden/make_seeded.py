"""Prints values that pipeline/seeded.c must make, from a Philox 4x32-10 written out here after Salmon et al., SC11 (table 2 and section 3.3).

Usage: make_seeded.py          (the lines stand in tests/pipeline/test_seeded.c)
"""
import struct

MASK = 0xFFFFFFFF


def philox(counter, key):
    c, k = list(counter), list(key)
    for round_ in range(10):
        if round_:
            k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
    return c


# Known answer of Random123 1.14 (tests/kat_vectors): philox4x32 10, all ones.
assert philox([MASK] * 4, [MASK] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def single(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def value(seed, name, index, scale):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & (2 ** 64 - 1)
    words = philox([index // 2 & MASK, index // 2 >> 32, h & MASK, h >> 32], [seed & MASK, seed >> 32])[2 * (index % 2):][:2]
    total = sum((w & 0xFFFF) + (w >> 16) for w in words) - 2 * 65535
    sigma = single((4 * (65536 ** 2 - 1) / 12) ** 0.5)
    return single(single(single(scale) / sigma) * total)


for seed, name, index, scale in [(1, "image_encoder.pos_embed", 0, 0.5), (1, "image_encoder.pos_embed", 1, 0.5),
                                 (1, "image_encoder.pos_embed", 2047, 0.5), (1 << 40, "mask_decoder.iou_token.weight", 255, 1.0),
                                 (7, "prompt_encoder.no_mask_embed.weight", 100, 0.5)]:
    print(f'{{{seed}U, "{name}", {index}, {value(seed, name, index, scale).hex()}F}},')
