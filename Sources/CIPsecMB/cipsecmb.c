#define _GNU_SOURCE
#include "cipsecmb.h"

#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<intel-ipsec-mb.h>)
#define HAS_HEADER 1
#endif
#endif

#ifdef HAS_HEADER
#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_GCM, KIND_CHACHA, KIND_CBC };

struct cipsecmb_key {
    union {
        struct gcm_key_data gcm;
        uint8_t chacha[32];
        struct {
            _Alignas(16) uint32_t encrypting[60];
            _Alignas(16) uint32_t decrypting[60];
            _Alignas(16) uint8_t inner[64];
            _Alignas(16) uint8_t outer[64];
        } cbc;
    } u;
    enum kind kind;
    IMB_HASH_ALG hash;
    uint32_t key_count;
};

static IMB_MGR *(*allocate)(uint64_t);
static void (*release)(IMB_MGR *);
static void (*initialize)(IMB_MGR *, IMB_ARCH *);
static unsigned (*get_version)(void);
static const char *(*get_version_text)(void);

/* What needs no lanes is the same for all threads: the functions for this processor. */
static IMB_MGR *functions;

enum { MOST_LANES = 64 };
static _Atomic(cipsecmb_lanes *) idle[MOST_LANES];
static atomic_int made;

static IMB_MGR *new_manager(void) {
    IMB_MGR *manager = allocate(0);
    if (manager == NULL)
        return NULL;
    IMB_ARCH arch = IMB_ARCH_NONE;
    initialize(manager, &arch);
    int has_test = (manager->features & IMB_FEATURE_SELF_TEST) != 0;
    if (arch == IMB_ARCH_NONE || (has_test && !(manager->features & IMB_FEATURE_SELF_TEST_PASS))) {
        release(manager);
        return NULL;
    }
    return manager;
}

int cipsecmb_load(void) {
    if (functions != NULL)
        return CIPSECMB_LOADED;
    void *library = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return CIPSECMB_ABSENT;
    get_version = (unsigned (*)(void))dlsym(library, "imb_get_version");
    get_version_text = (const char *(*)(void))dlsym(library, "imb_get_version_str");
    allocate = (IMB_MGR * (*)(uint64_t)) dlsym(library, "alloc_mb_mgr");
    release = (void (*)(IMB_MGR *))dlsym(library, "free_mb_mgr");
    initialize = (void (*)(IMB_MGR *, IMB_ARCH *))dlsym(library, "init_mb_mgr_auto");
    if (get_version == NULL || get_version_text == NULL || allocate == NULL || release == NULL
        || initialize == NULL) {
        dlclose(library);
        return CIPSECMB_OTHER_VERSION;
    }
    /* Functions are called through the manager's table, whose places differ from version to version. */
    if (get_version() >> 8 != IMB_VERSION_NUM >> 8) {
        dlclose(library);
        return CIPSECMB_OTHER_VERSION;
    }
    functions = new_manager();
    return functions == NULL ? CIPSECMB_FAILED : CIPSECMB_LOADED;
}

const char *cipsecmb_version(void) { return get_version_text(); }

static cipsecmb_key *new_key(enum kind kind) {
    size_t size = (sizeof(cipsecmb_key) + 63) & ~(size_t)63;
    cipsecmb_key *key = aligned_alloc(64, size);
    if (key == NULL)
        return NULL;
    memset(key, 0, size);
    key->kind = kind;
    return key;
}

void cipsecmb_key_free(cipsecmb_key *key) {
    if (key == NULL)
        return;
    explicit_bzero(key, sizeof *key);
    free(key);
}

cipsecmb_key *cipsecmb_gcm_new(const uint8_t *octets, size_t count) {
    if (count != 16 && count != 24 && count != 32)
        return NULL;
    cipsecmb_key *key = new_key(KIND_GCM);
    if (key == NULL)
        return NULL;
    key->key_count = (uint32_t)count;
    if (count == 16)
        IMB_AES128_GCM_PRE(functions, octets, &key->u.gcm);
    else if (count == 24)
        IMB_AES192_GCM_PRE(functions, octets, &key->u.gcm);
    else
        IMB_AES256_GCM_PRE(functions, octets, &key->u.gcm);
    return key;
}

cipsecmb_key *cipsecmb_chacha_new(const uint8_t *octets, size_t count) {
    cipsecmb_key *key = count == 32 ? new_key(KIND_CHACHA) : NULL;
    if (key == NULL)
        return NULL;
    key->key_count = 32;
    memcpy(key->u.chacha, octets, 32);
    return key;
}

static void absorb(int hash, const uint8_t *block, uint8_t *state) {
    switch (hash) {
    case CIPSECMB_SHA1: IMB_SHA1_ONE_BLOCK(functions, block, state); break;
    case CIPSECMB_SHA256: IMB_SHA256_ONE_BLOCK(functions, block, state); break;
    case CIPSECMB_SHA384: IMB_SHA384_ONE_BLOCK(functions, block, state); break;
    default: IMB_SHA512_ONE_BLOCK(functions, block, state); break;
    }
}

static IMB_HASH_ALG algorithm(int hash) {
    switch (hash) {
    case CIPSECMB_SHA1: return IMB_AUTH_HMAC_SHA_1;
    case CIPSECMB_SHA256: return IMB_AUTH_HMAC_SHA_256;
    case CIPSECMB_SHA384: return IMB_AUTH_HMAC_SHA_384;
    default: return IMB_AUTH_HMAC_SHA_512;
    }
}

cipsecmb_key *cipsecmb_cbc_new(const uint8_t *octets, size_t count, int hash, const uint8_t *mac_key,
                               size_t mac_count) {
    size_t block_count = hash == CIPSECMB_SHA1 || hash == CIPSECMB_SHA256 ? 64 : 128;
    if ((count != 0 && count != 16 && count != 24 && count != 32) || mac_count > block_count)
        return NULL;
    cipsecmb_key *key = new_key(KIND_CBC);
    if (key == NULL)
        return NULL;
    key->key_count = (uint32_t)count;
    key->hash = algorithm(hash);
    if (count == 16)
        IMB_AES_KEYEXP_128(functions, octets, key->u.cbc.encrypting, key->u.cbc.decrypting);
    else if (count == 24)
        IMB_AES_KEYEXP_192(functions, octets, key->u.cbc.encrypting, key->u.cbc.decrypting);
    else if (count == 32)
        IMB_AES_KEYEXP_256(functions, octets, key->u.cbc.encrypting, key->u.cbc.decrypting);
    uint8_t block[128] = {0};
    memcpy(block, mac_key, mac_count);
    for (size_t i = 0; i < block_count; i++)
        block[i] ^= 0x36;
    absorb(hash, block, key->u.cbc.inner);
    for (size_t i = 0; i < block_count; i++)
        block[i] ^= 0x36 ^ 0x5c;
    absorb(hash, block, key->u.cbc.outer);
    explicit_bzero(block, sizeof block);
    return key;
}

void cipsecmb_aead_seal(const cipsecmb_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_count,
                        uint8_t *text, size_t count, uint8_t *tag) {
    if (key->kind == KIND_CHACHA) {
        struct chacha20_poly1305_context_data context;
        IMB_CHACHA20_POLY1305_INIT(functions, key->u.chacha, &context, nonce, aad, aad_count);
        IMB_CHACHA20_POLY1305_ENC_UPDATE(functions, key->u.chacha, &context, text, text, count);
        IMB_CHACHA20_POLY1305_ENC_FINALIZE(functions, &context, tag, 16);
        return;
    }
    struct gcm_context_data context;
    if (key->key_count == 16)
        IMB_AES128_GCM_ENC(functions, &key->u.gcm, &context, text, text, count, nonce, aad, aad_count, tag, 16);
    else if (key->key_count == 24)
        IMB_AES192_GCM_ENC(functions, &key->u.gcm, &context, text, text, count, nonce, aad, aad_count, tag, 16);
    else
        IMB_AES256_GCM_ENC(functions, &key->u.gcm, &context, text, text, count, nonce, aad, aad_count, tag, 16);
}

void cipsecmb_aead_open(const cipsecmb_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_count,
                        uint8_t *text, size_t count, uint8_t *tag) {
    if (key->kind == KIND_CHACHA) {
        struct chacha20_poly1305_context_data context;
        IMB_CHACHA20_POLY1305_INIT(functions, key->u.chacha, &context, nonce, aad, aad_count);
        IMB_CHACHA20_POLY1305_DEC_UPDATE(functions, key->u.chacha, &context, text, text, count);
        IMB_CHACHA20_POLY1305_DEC_FINALIZE(functions, &context, tag, 16);
        return;
    }
    struct gcm_context_data context;
    if (key->key_count == 16)
        IMB_AES128_GCM_DEC(functions, &key->u.gcm, &context, text, text, count, nonce, aad, aad_count, tag, 16);
    else if (key->key_count == 24)
        IMB_AES192_GCM_DEC(functions, &key->u.gcm, &context, text, text, count, nonce, aad, aad_count, tag, 16);
    else
        IMB_AES256_GCM_DEC(functions, &key->u.gcm, &context, text, text, count, nonce, aad, aad_count, tag, 16);
}

cipsecmb_lanes *cipsecmb_lanes_acquire(void) {
    for (int i = 0; i < MOST_LANES; i++) {
        if (atomic_load_explicit(&idle[i], memory_order_relaxed) == NULL)
            continue;
        cipsecmb_lanes *lanes = atomic_exchange_explicit(&idle[i], NULL, memory_order_acquire);
        if (lanes != NULL)
            return lanes;
    }
    if (atomic_fetch_add(&made, 1) >= MOST_LANES) {
        atomic_fetch_sub(&made, 1);
        return NULL;
    }
    cipsecmb_lanes *lanes = calloc(1, sizeof *lanes);
    IMB_MGR *manager = lanes == NULL ? NULL : new_manager();
    if (manager == NULL) {
        free(lanes);
        atomic_fetch_sub(&made, 1);
        return NULL;
    }
    lanes->manager = manager;
    return lanes;
}

void cipsecmb_lanes_release(cipsecmb_lanes *lanes) {
    /* As many places as lanes: one is free. */
    for (;;) {
        for (int i = 0; i < MOST_LANES; i++) {
            cipsecmb_lanes *expected = NULL;
            if (atomic_compare_exchange_strong_explicit(&idle[i], &expected, lanes, memory_order_release,
                                                        memory_order_relaxed))
                return;
        }
    }
}

static void finish(const IMB_JOB *job) {
    if (job == NULL)
        return;
    cipsecmb_message *message = job->user_data;
    message->is_done = job->status == IMB_STATUS_COMPLETED;
}

void cipsecmb_run(cipsecmb_lanes *lanes, const cipsecmb_key *key, uint32_t count, int seals) {
    IMB_MGR *manager = lanes->manager;
    if (count > CIPSECMB_LANES)
        count = CIPSECMB_LANES;
    for (uint32_t i = 0; i < count; i++) {
        cipsecmb_message *message = &lanes->messages[i];
        message->is_done = 0;
        IMB_JOB *job = IMB_GET_NEXT_JOB(manager);
        job->cipher_mode = key->key_count == 0 ? IMB_CIPHER_NULL : IMB_CIPHER_CBC;
        job->cipher_direction = seals ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
        job->chain_order = seals ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
        job->enc_keys = key->u.cbc.encrypting;
        job->dec_keys = key->u.cbc.decrypting;
        job->key_len_in_bytes = key->key_count;
        job->src = message->start;
        job->dst = message->start + message->text_offset;
        job->cipher_start_src_offset_in_bytes = message->text_offset;
        job->msg_len_to_cipher_in_bytes = message->text_count;
        job->hash_start_src_offset_in_bytes = 0;
        job->msg_len_to_hash_in_bytes = message->hash_count;
        job->iv = message->iv;
        job->iv_len_in_bytes = 16;
        job->hash_alg = key->hash;
        job->auth_tag_output = message->tag;
        job->auth_tag_output_len_in_bytes = message->tag_count;
        job->u.HMAC._hashed_auth_key_xor_ipad = key->u.cbc.inner;
        job->u.HMAC._hashed_auth_key_xor_opad = key->u.cbc.outer;
        job->user_data = message;
        finish(IMB_SUBMIT_JOB(manager));
    }
    for (IMB_JOB *job = IMB_FLUSH_JOB(manager); job != NULL; job = IMB_FLUSH_JOB(manager))
        finish(job);
}

#else

int cipsecmb_load(void) { return CIPSECMB_NOT_BUILT; }
const char *cipsecmb_version(void) { return ""; }
cipsecmb_key *cipsecmb_gcm_new(const uint8_t *key, size_t count) {
    (void)key;
    (void)count;
    return NULL;
}
cipsecmb_key *cipsecmb_cbc_new(const uint8_t *key, size_t count, int hash, const uint8_t *mac_key, size_t mac_count) {
    (void)key;
    (void)count;
    (void)hash;
    (void)mac_key;
    (void)mac_count;
    return NULL;
}
cipsecmb_key *cipsecmb_chacha_new(const uint8_t *key, size_t count) {
    (void)key;
    (void)count;
    return NULL;
}
void cipsecmb_key_free(cipsecmb_key *key) { (void)key; }
void cipsecmb_aead_seal(const cipsecmb_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_count,
                        uint8_t *text, size_t count, uint8_t *tag) {
    (void)key, (void)nonce, (void)aad, (void)aad_count, (void)text, (void)count, (void)tag;
}
void cipsecmb_aead_open(const cipsecmb_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_count,
                        uint8_t *text, size_t count, uint8_t *tag) {
    (void)key, (void)nonce, (void)aad, (void)aad_count, (void)text, (void)count, (void)tag;
}
cipsecmb_lanes *cipsecmb_lanes_acquire(void) { return NULL; }
void cipsecmb_lanes_release(cipsecmb_lanes *lanes) { (void)lanes; }
void cipsecmb_run(cipsecmb_lanes *lanes, const cipsecmb_key *key, uint32_t count, int seals) {
    (void)lanes, (void)key, (void)count, (void)seals;
}
#endif
