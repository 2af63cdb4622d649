#pragma once
#include <sodium.h>
#include <sys/mman.h>

/* The child of a fork reads zeros here. 0 on success; older kernels refuse, which costs only this protection. */
static inline int csodium_wipe_on_fork(void *address, size_t octets) {
#ifdef MADV_WIPEONFORK
    return madvise(address, octets, MADV_WIPEONFORK);
#else
    (void)address;
    (void)octets;
    return -1;
#endif
}
