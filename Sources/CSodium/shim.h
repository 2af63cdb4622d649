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

/* Zeroed pages of this process alone, which take memory only where they are written; NULL without any. */
static inline void *csodium_map_pages(size_t octets) {
    void *pages = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

/* Gives them back; whoever gets them next reads zeros. */
static inline void csodium_unmap_pages(void *pages, size_t octets) { munmap(pages, octets); }
