#include "cchecksum.h"

#include <string.h>

/* Four sums side by side, each of 32-bit words: below 16 GiB none overflows. */
typedef uint64_t lanes __attribute__((vector_size(32)));

static const lanes low_half = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};

/* Sums whole blocks of 64 octets; what is done with each block in between is given. Written out, as the compiler would
 * make of a copying loop a copy and a sum. */
#define SUM_BLOCKS(octets, blocks, also)                                                                               \
    lanes even = {0}, odd = {0};                                                                                       \
    for (size_t at = 0; at < (blocks) * 64; at += 64) {                                                                \
        lanes one, two;                                                                                                \
        memcpy(&one, (octets) + at, 32);                                                                               \
        memcpy(&two, (octets) + at + 32, 32);                                                                          \
        also;                                                                                                          \
        even += (one & low_half) + (two & low_half);                                                                   \
        odd += (one >> 32) + (two >> 32);                                                                              \
    }                                                                                                                  \
    even += odd;                                                                                                       \
    return even[0] + even[1] + even[2] + even[3];

#define COPY_BLOCK(target)                                                                                             \
    memcpy((target) + at, &one, 32);                                                                                   \
    memcpy((target) + at + 32, &two, 32)

static uint64_t sum_any(const uint8_t *octets, size_t blocks) { SUM_BLOCKS(octets, blocks, ) }

static uint64_t copy_any(uint8_t *restrict target, const uint8_t *restrict octets, size_t blocks) {
    SUM_BLOCKS(octets, blocks, COPY_BLOCK(target))
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *octets, size_t blocks) {
    SUM_BLOCKS(octets, blocks, )
}

__attribute__((target("avx2"))) static uint64_t copy_avx2(uint8_t *restrict target, const uint8_t *restrict octets,
                                                          size_t blocks) {
    SUM_BLOCKS(octets, blocks, COPY_BLOCK(target))
}

/* Known before main. */
static int has_avx2(void) { return __builtin_cpu_supports("avx2"); }
#else
#define sum_avx2 sum_any
#define copy_avx2 copy_any
static int has_avx2(void) { return 0; }
#endif

/* Less than a block. */
static uint64_t sum_rest(const uint8_t *octets, size_t count) {
    uint64_t sum = 0;
    uint32_t word;
    for (; count >= 4; count -= 4, octets += 4) {
        memcpy(&word, octets, 4);
        sum += word;
    }
    word = 0;
    if (count >= 2)
        memcpy(&word, octets, 2);
    sum += word;
    word = 0;
    if (count & 1)
        memcpy(&word, octets + (count & 2), 1);
    return sum + word;
}

static uint16_t fold(uint64_t sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

typedef uint64_t summing(const uint8_t *octets, size_t blocks);
typedef uint64_t copying(uint8_t *restrict target, const uint8_t *restrict octets, size_t blocks);

static uint16_t sum_with(summing *blocks, const uint8_t *octets, size_t count) {
    uint64_t sum = blocks(octets, count / 64);
    return fold(sum + sum_rest(octets + (count & ~(size_t)63), count & 63));
}

static uint16_t copy_with(copying *blocks, uint8_t *target, const uint8_t *octets, size_t count) {
    uint64_t sum = blocks(target, octets, count / 64);
    size_t done = count & ~(size_t)63;
    if (count > done)
        memcpy(target + done, octets + done, count - done);
    return fold(sum + sum_rest(octets + done, count - done));
}

uint16_t cchecksum_sum(const void *octets, size_t count) {
    return has_avx2() ? sum_with(sum_avx2, octets, count) : sum_with(sum_any, octets, count);
}

uint16_t cchecksum_copy(void *target, const void *source, size_t count) {
    return has_avx2() ? copy_with(copy_avx2, target, source, count) : copy_with(copy_any, target, source, count);
}

uint16_t cchecksum_sum_plain(const void *octets, size_t count) { return sum_with(sum_any, octets, count); }

uint16_t cchecksum_copy_plain(void *target, const void *source, size_t count) {
    return copy_with(copy_any, target, source, count);
}
