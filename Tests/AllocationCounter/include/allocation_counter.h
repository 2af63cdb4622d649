/* Counts what one thread allocates: the C library's functions are replaced in the program that links this. */
#ifndef ALLOCATION_COUNTER_H
#define ALLOCATION_COUNTER_H

#include <stdint.h>

/* 0 in a sanitizer's build, which has replaced them already, and without glibc. */
int allocation_counter_works(void);
/* Counts from now on what the calling thread allocates. */
void allocation_counter_start(void);
/* Calls of malloc and the like since the start. */
uint64_t allocation_counter_stop(void);

#endif
