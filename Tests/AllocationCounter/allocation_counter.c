#include "allocation_counter.h"

#include <errno.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static _Thread_local int is_counting;
static _Thread_local uint64_t count;

void allocation_counter_start(void) {
    count = 0;
    is_counting = 1;
}

uint64_t allocation_counter_stop(void) {
    is_counting = 0;
    return count;
}

#if defined(__GLIBC__) && !defined(SANITIZED)
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

int allocation_counter_works(void) { return 1; }

void *malloc(size_t size) {
    count += (uint64_t)is_counting;
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count += (uint64_t)is_counting;
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    count += (uint64_t)is_counting;
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
    count += (uint64_t)is_counting;
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **result, size_t alignment, size_t size) {
    void *memory = memalign(alignment, size);
    if (memory == NULL)
        return ENOMEM;
    *result = memory;
    return 0;
}
#else
int allocation_counter_works(void) { return 0; }
#endif
