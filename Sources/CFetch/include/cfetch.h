#pragma once
#include <stddef.h>

/* A bounded transfer by HTTP, with libcurl. */

/* Loads libcurl; must be called once before threads use the rest.  0 when it is usable. */
int cfetch_prepare(void);

/* Fetches `url`, or posts `post_count` octets of `content_type` there when `post` is not NULL.
   Writes the body, which cfetch_free takes back, and its length; what is longer than `limit` octets fails.
   With `mark` its packets carry that mark, so that they keep out of tunnels that cover everything.
   Returns 0, or -1 with a line of text in `error`. Blocks for `timeout_ms` at most. */
int cfetch_run(const char *url, const void *post, size_t post_count, const char *content_type, long timeout_ms,
               unsigned mark, size_t limit, unsigned char **body, size_t *count, char *error, size_t error_size);

void cfetch_free(unsigned char *body);
