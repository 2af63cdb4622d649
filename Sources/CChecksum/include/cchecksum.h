/* Sums for the Internet checksum, by the widest instructions that the machine has: Swift would be built for the least
 * of all machines, and every octet that is cut or merged is summed. */
#ifndef CCHECKSUM_H
#define CCHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The folded ones' complement sum of 16-bit words in the machine's order (RFC 1071 §2 B), not complemented; an odd last
 * octet is padded with zero. */
uint16_t cchecksum_sum(const void *octets, size_t count);

/* The same, and copies the octets; the two places must not overlap. */
uint16_t cchecksum_copy(void *target, const void *source, size_t count);

/* What a machine without wide instructions does. */
uint16_t cchecksum_sum_plain(const void *octets, size_t count);
uint16_t cchecksum_copy_plain(void *target, const void *source, size_t count);

#endif
