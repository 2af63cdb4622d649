/* Batches of datagrams with their addresses, sockets for ESP and IKE, reads and writes of the TUN device.
 * Every function that returns int or ssize_t gives a negated errno on failure. */
#ifndef CLINUX_PUMP_H
#define CLINUX_PUMP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* An address with its port, all in host order; an IPv4 address is `low` alone. */
typedef struct clinux_endpoint {
    uint64_t high;
    uint64_t low;
    uint32_t interface; /* the scope of a link-local address */
    uint16_t port;
    uint8_t is_ipv6;
    uint8_t reserved;
} clinux_endpoint;

/* What was received into one slot. */
typedef struct clinux_datagram {
    clinux_endpoint remote;
    clinux_endpoint local; /* the address it was sent to; port 0 */
    uint32_t length;
    uint32_t segment; /* with GRO: octets of each datagram but the last, else 0 */
    uint32_t is_truncated;
    uint32_t traffic_class; /* TOS or traffic class of the outer header */
} clinux_datagram;

/* What became of a batch that was sent. */
typedef struct clinux_flush_result {
    uint32_t sent;
    uint32_t refused; /* the kernel would not take them */
    uint32_t blocked; /* found no room */
    uint32_t errors;  /* calls that failed: the error queue may hold the reason */
    uint32_t unsegmented; /* messages of several datagrams that the kernel refused to cut: they went one by one */
    int32_t segment_error; /* the errno of the last such refusal */
} clinux_flush_result;

/* A part of a packet that is to be written: octets from the arena's start, and how many. */
typedef struct clinux_piece {
    uint32_t offset;
    uint32_t length;
} clinux_piece;

/* An error that came back for a datagram of ours. */
typedef struct clinux_outer_error {
    clinux_endpoint remote; /* where the datagram was to go; port 0 for raw sockets */
    uint32_t mtu;           /* of the link that it did not fit; 0 when not told */
    uint32_t is_too_big;
    uint32_t is_local; /* the kernel's own, nobody's claim */
    uint32_t quoted_count;
    uint8_t quoted[8]; /* the start of the payload, behind the UDP header if any */
} clinux_outer_error;

typedef struct clinux_socket_options {
    uint32_t mark;
    int32_t receive_buffer;
    int32_t send_buffer;
    uint8_t reuse_port;
    uint8_t dont_fragment;    /* the outer DF bit is set, and the kernel cuts nothing */
    uint8_t receive_errors;   /* an error queue, to be emptied with clinux_receive_error */
} clinux_socket_options;

/* A UDP socket bound to `local` that does not block. What ICMP says of path MTUs never rules what is sent by
 * IPv4, for nobody has proved it. */
int clinux_udp_open(const clinux_endpoint *local, const clinux_socket_options *options);
/* A raw socket for ESP of one family; by IPv4 it delivers the IP header too. */
int clinux_raw_esp_open(int is_ipv6, const clinux_socket_options *options);
/* Whether what is sent from now on may be cut: the kernel then cuts what the device does not take, routers the
 * rest; IPv6 packets are cut to 1280 octets. */
int clinux_set_dont_fragment(int fd, int is_ipv6, int dont_fragment);
/* The port a socket is bound to. */
int clinux_bound_port(int fd);
/* The address that the kernel would send from towards `remote`. */
int clinux_source_towards(const clinux_endpoint *remote, uint32_t mark, clinux_endpoint *local);

/* Asks for several datagrams in one message, where they came in one train; -ENOPROTOOPT where the kernel has no
 * such thing. */
int clinux_set_receive_segments(int fd, int on);
/* 0 when the kernel cuts a message into datagrams (UDP_SEGMENT). */
int clinux_probe_send_segments(int fd);

/* Steers the datagrams of fd's SO_REUSEPORT group: IKE and keepalives to its first member, ESP to member
 * 1 + (SPI & (workers - 1)). `workers` is a power of two. */
int clinux_steer_esp(int fd, uint32_t workers);

/* Lets a raw ESP socket receive only packets with (SPI & (workers - 1)) == number: without it, each of several sockets
 * gets a copy of all. */
int clinux_filter_raw_esp(int fd, int is_ipv6, uint32_t number, uint32_t workers);
/* Processors that this process may run on. */
int clinux_processors(void);

/* Message vectors for `capacity` datagrams; NULL without memory. */
typedef struct clinux_batch clinux_batch;
clinux_batch *clinux_batch_new(uint32_t capacity);
void clinux_batch_free(clinux_batch *batch);

/* Receives up to `count` datagrams, number i at base + i * stride with room for `room` octets. */
int clinux_receive(clinux_batch *batch, int fd, void *base, size_t stride, size_t room, uint32_t count,
                   clinux_datagram *datagrams);

/* Adds a datagram: a copy is not made. A `local` without address leaves the source to the kernel; `segment` is
 * the size for UDP_SEGMENT or 0. -ENOBUFS when the batch is full. */
int clinux_send_add(clinux_batch *batch, const void *octets, size_t count, const clinux_endpoint *local,
                    const clinux_endpoint *remote, uint16_t segment, uint8_t traffic_class);
uint32_t clinux_send_count(const clinux_batch *batch);
/* Sends and empties the batch; waits up to `patience_ms` in all for room. */
clinux_flush_result clinux_send_flush(clinux_batch *batch, int fd, int patience_ms);

/* Sends one datagram without waiting, from any thread. */
int clinux_send_one(int fd, const void *octets, size_t count, const clinux_endpoint *local,
                    const clinux_endpoint *remote);

/* Takes one error from the queue: 1, or 0 when it is empty. */
int clinux_receive_error(int fd, clinux_outer_error *error);

/* read and write that are not interrupted. */
ssize_t clinux_read(int fd, void *octets, size_t count);
ssize_t clinux_write(int fd, const void *octets, size_t count);
/* Writes at most CLINUX_PIECES parts of one packet. */
enum { CLINUX_PIECES = 130 };
ssize_t clinux_write_pieces(int fd, const void *base, const clinux_piece *pieces, uint32_t count);
/* A descriptor that is readable while one of at most 32 that were added to it is readable or has an error: libdispatch
 * does not tell of errors alone, and would spin on them. */
int clinux_poller_open(void);
int clinux_poller_add(int poller, int fd, uint32_t number);
void clinux_poller_remove(int poller, int fd);
/* Waits up to `timeout_ms` until there are such: a bit for each by its number. */
uint32_t clinux_poller_wait(int poller, int timeout_ms);
/* Schedules the calling thread as SCHED_BATCH, if it is SCHED_OTHER now: 1 when it does; or as SCHED_OTHER again. */
int clinux_schedule_batch(int on);
/* A descriptor that is readable from `clinux_event_signal` until `clinux_event_clear`. */
int clinux_event_open(void);
void clinux_event_signal(int fd);
void clinux_event_clear(int fd);
int clinux_close(int fd);

/* Nanoseconds of CLOCK_BOOTTIME. */
int64_t clinux_boottime(void);

#endif
