/* Intel's Multi-Buffer Crypto for IPsec, found at run time: nothing links against it, and nothing needs it.
 * Built where its header was, for x86-64; elsewhere `cipsecmb_load` says so and nothing else may be called. */
#ifndef CIPSECMB_H
#define CIPSECMB_H

#include <stddef.h>
#include <stdint.h>

enum {
    CIPSECMB_LOADED = 0,
    CIPSECMB_NOT_BUILT = 1,      /* built without the library's header */
    CIPSECMB_ABSENT = 2,         /* the library is not installed */
    CIPSECMB_OTHER_VERSION = 3,  /* its structures are not those of the header */
    CIPSECMB_FAILED = 4,         /* it could not be initialised, or failed its own test */
};

/* Loads the library, once; to be called before all else. */
int cipsecmb_load(void);
/* The version that was loaded, as it names itself. */
const char *cipsecmb_version(void);

/* The keys of one SA in one direction, expanded. */
typedef struct cipsecmb_key cipsecmb_key;

enum { CIPSECMB_SHA1, CIPSECMB_SHA256, CIPSECMB_SHA384, CIPSECMB_SHA512 };

/* AES-GCM with a key of 16, 24 or 32 octets; NULL without memory or for another length. */
cipsecmb_key *cipsecmb_gcm_new(const uint8_t *key, size_t count);
/* AES-CBC with such a key, or no cipher (count 0), and an HMAC, whose key is no longer than the hash's block. */
cipsecmb_key *cipsecmb_cbc_new(const uint8_t *key, size_t count, int hash, const uint8_t *mac_key, size_t mac_count);
/* ChaCha20-Poly1305 with a key of 32 octets. */
cipsecmb_key *cipsecmb_chacha_new(const uint8_t *key, size_t count);
/* Wipes and frees the keys. */
void cipsecmb_key_free(cipsecmb_key *key);

/* One message of an AEAD in place, with a nonce of 12 octets; `tag` gets the tag, which who opens has to compare. */
void cipsecmb_aead_seal(const cipsecmb_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_count,
                        uint8_t *text, size_t count, uint8_t *tag);
void cipsecmb_aead_open(const cipsecmb_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_count,
                        uint8_t *text, size_t count, uint8_t *tag);

/* A message for cipher and HMAC: `text_count` octets are enciphered in place from start + text_offset on,
 * `hash_count` octets are hashed from start on. */
typedef struct cipsecmb_message {
    uint8_t *start;
    const uint8_t *iv;
    uint8_t *tag;
    uint32_t text_offset;
    uint32_t text_count;
    uint32_t hash_count;
    uint32_t tag_count;
    uint32_t is_done;
    uint32_t index; /* the caller's */
    uint8_t received[64]; /* the caller's */
    uint8_t computed[64]; /* the caller's */
} cipsecmb_message;

enum { CIPSECMB_LANES = 64 };

/* Room for messages that are worked on side by side. */
typedef struct cipsecmb_lanes {
    cipsecmb_message messages[CIPSECMB_LANES];
    void *manager;
} cipsecmb_lanes;

static inline cipsecmb_message *cipsecmb_lane(cipsecmb_lanes *lanes, uint32_t number) {
    return &lanes->messages[number % CIPSECMB_LANES];
}

static inline uint8_t *cipsecmb_computed(cipsecmb_message *message) { return message->computed; }

/* Lends lanes that nobody else uses until they are given back; NULL when there are no more. */
cipsecmb_lanes *cipsecmb_lanes_acquire(void);
void cipsecmb_lanes_release(cipsecmb_lanes *lanes);

/* Works on the first `count` messages and sets `is_done` of each that succeeded. Sealing enciphers and then hashes,
 * opening hashes and then deciphers. */
void cipsecmb_run(cipsecmb_lanes *lanes, const cipsecmb_key *key, uint32_t count, int seals);

#endif
