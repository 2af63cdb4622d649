#include "cfetch.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The library with all it brings takes more than 4 MB of a daemon's memory, which only who checks revocation needs: it is loaded then. */
static struct {
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_perform)(CURL *);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    void (*easy_cleanup)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
} curl;

struct sink {
    unsigned char *octets;
    size_t count;
    size_t room;
    size_t limit;
};

static size_t take(char *data, size_t size, size_t items, void *context) {
    struct sink *sink = context;
    size_t count = size * items;
    if (count > sink->limit - sink->count) return 0;
    if (sink->count + count > sink->room) {
        size_t room = sink->room == 0 ? 16384 : sink->room;
        while (room < sink->count + count) room *= 2;
        unsigned char *grown = realloc(sink->octets, room);
        if (grown == NULL) return 0;
        sink->octets = grown;
        sink->room = room;
    }
    memcpy(sink->octets + sink->count, data, count);
    sink->count += count;
    return count;
}

static int mark_socket(void *context, curl_socket_t descriptor, curlsocktype purpose) {
    unsigned mark = *(unsigned *)context;
    (void)purpose;
    if (mark != 0) (void)setsockopt(descriptor, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
    return CURL_SOCKOPT_OK;
}

int cfetch_prepare(void) {
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return -1;
    *(void **)&curl.global_init = dlsym(library, "curl_global_init");
    *(void **)&curl.easy_init = dlsym(library, "curl_easy_init");
    *(void **)&curl.easy_setopt = dlsym(library, "curl_easy_setopt");
    *(void **)&curl.easy_perform = dlsym(library, "curl_easy_perform");
    *(void **)&curl.easy_getinfo = dlsym(library, "curl_easy_getinfo");
    *(void **)&curl.easy_cleanup = dlsym(library, "curl_easy_cleanup");
    *(void **)&curl.easy_strerror = dlsym(library, "curl_easy_strerror");
    *(void **)&curl.slist_append = dlsym(library, "curl_slist_append");
    *(void **)&curl.slist_free_all = dlsym(library, "curl_slist_free_all");
    if (!curl.global_init || !curl.easy_init || !curl.easy_setopt || !curl.easy_perform || !curl.easy_getinfo ||
        !curl.easy_cleanup || !curl.easy_strerror || !curl.slist_append || !curl.slist_free_all)
        return -1;
    return curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -1;
}

int cfetch_run(const char *url, const void *post, size_t post_count, const char *content_type, long timeout_ms,
               unsigned mark, size_t limit, unsigned char **body, size_t *count, char *error, size_t error_size) {
    struct sink sink = {NULL, 0, 0, limit};
    struct curl_slist *headers = NULL;
    char detail[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURL *handle = curl.easy_init();
    if (handle == NULL) {
        snprintf(error, error_size, "out of memory");
        return -1;
    }
    curl.easy_setopt(handle, CURLOPT_URL, url);
    /* What is fetched is signed; other schemes could read files or speak to other services. */
#if LIBCURL_VERSION_NUM >= 0x075500
    curl.easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http");
    curl.easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, "http");
#else
    curl.easy_setopt(handle, CURLOPT_PROTOCOLS, (long)CURLPROTO_HTTP);
    curl.easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS, (long)CURLPROTO_HTTP);
#endif
    curl.easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
    curl.easy_setopt(handle, CURLOPT_MAXREDIRS, 3L);
    curl.easy_setopt(handle, CURLOPT_FAILONERROR, 1L);
    curl.easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(handle, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl.easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    curl.easy_setopt(handle, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)limit);
    curl.easy_setopt(handle, CURLOPT_PROXY, "");
    curl.easy_setopt(handle, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl.easy_setopt(handle, CURLOPT_SOCKOPTFUNCTION, mark_socket);
    curl.easy_setopt(handle, CURLOPT_SOCKOPTDATA, &mark);
    curl.easy_setopt(handle, CURLOPT_ERRORBUFFER, detail);
    curl.easy_setopt(handle, CURLOPT_WRITEFUNCTION, take);
    curl.easy_setopt(handle, CURLOPT_WRITEDATA, &sink);
    if (post != NULL) {
        char line[128];
        snprintf(line, sizeof line, "Content-Type: %s", content_type);
        headers = curl.slist_append(headers, line);
        curl.easy_setopt(handle, CURLOPT_POST, 1L);
        curl.easy_setopt(handle, CURLOPT_POSTFIELDS, post);
        curl.easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)post_count);
        curl.easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    }
    CURLcode code = curl.easy_perform(handle);
    curl.easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    curl.slist_free_all(headers);
    curl.easy_cleanup(handle);
    if (code != CURLE_OK) {
        free(sink.octets);
        if (code == CURLE_WRITE_ERROR || code == CURLE_FILESIZE_EXCEEDED)
            snprintf(error, error_size, "more than %zu octets", limit);
        else if (code == CURLE_HTTP_RETURNED_ERROR)
            snprintf(error, error_size, "HTTP status %ld", status);
        else
            snprintf(error, error_size, "%s", detail[0] ? detail : curl.easy_strerror(code));
        return -1;
    }
    *body = sink.octets;
    *count = sink.count;
    return 0;
}

void cfetch_free(unsigned char *body) { free(body); }
