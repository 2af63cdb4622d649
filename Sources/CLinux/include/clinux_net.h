/* TUN control, netlink sockets, boot-time timers, signals, limits and child programs.
 * Every function that returns int or ssize_t gives a negated errno on failure. */
#ifndef CLINUX_NET_H
#define CLINUX_NET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    CLINUX_IFF_TUN = 0x0001,
    CLINUX_IFF_MULTI_QUEUE = 0x0100,
    CLINUX_IFF_NO_PI = 0x1000,
    CLINUX_IFF_VNET_HDR = 0x4000,
    CLINUX_IFF_TUN_EXCL = 0x8000,
};

/* What a TUN device may leave to its reader (TUN_F_*). */
enum {
    CLINUX_TUN_CHECKSUM = 0x01,
    CLINUX_TUN_TSO4 = 0x02,
    CLINUX_TUN_TSO6 = 0x04,
    CLINUX_TUN_TSO_ECN = 0x08,
    CLINUX_TUN_USO4 = 0x20,
    CLINUX_TUN_USO6 = 0x40,
};

/* Opens /dev/net/tun and attaches to `name` (created when absent) with IFF_* `flags`. With IFF_VNET_HDR
 * the header has 10 octets and `offload` (TUN_F_*) is set. The descriptor does not block. */
int clinux_tun_open(const char *name, unsigned flags, unsigned offload);
int clinux_tun_set_persist(int fd, int persistent);
int clinux_tun_set_send_buffer(int fd, int octets);
int clinux_tun_set_offload(int fd, unsigned offload);

/* A NETLINK_ROUTE socket in `groups` (RTMGRP_*); receiving waits `timeout_ms`, or never when it is 0. */
int clinux_netlink_open(uint32_t groups, int receive_buffer, int timeout_ms);
ssize_t clinux_netlink_send(int fd, const void *octets, size_t count);
/* Receives one datagram from the kernel; those of other processes are skipped. */
ssize_t clinux_netlink_receive(int fd, void *octets, size_t capacity);

/* A timer on CLOCK_BOOTTIME; `clinux_timer_set` with 0, 0 disarms it, else the deadline is absolute. */
int clinux_timer_open(void);
int clinux_timer_set(int fd, int64_t seconds, int64_t nanoseconds);
/* 1 when it has expired since the last call, else 0. */
int clinux_timer_expired(int fd);

/* Both ends neither block nor outlive an exec; ends[0] is the one to read. */
int clinux_pipe(int ends[2]);

/* Writes the number of each `signal_number` that arrives into `fd` as one octet. */
int clinux_signal_forward(int signal_number, int fd);
/* Gives `signal_number` its default action again, if `fd` is still its target. */
int clinux_signal_restore(int signal_number, int fd);
int clinux_signal_ignore(int signal_number);

int clinux_set_not_dumpable(void);
int clinux_limit_core_to_zero(void);
/* Raises the soft limit of open files to the hard one. */
int clinux_raise_open_files(void);

/* One datagram to an AF_UNIX address; a leading '@' means the abstract name space. */
int clinux_unix_send(const char *path, const void *octets, size_t count);

/* Receives from a stream socket. `passed` gets a descriptor that came along (SCM_RIGHTS), closed on exec, or -1; of
 * several only the first is kept. */
ssize_t clinux_unix_receive(int fd, void *octets, size_t capacity, int *passed);
/* Sends octets and a descriptor with the first of them. */
ssize_t clinux_unix_send_descriptor(int fd, const void *octets, size_t count, int passed);

/* Runs `path` with `arguments` (NULL at the end), `input` on its standard input, an environment of
 * LC_ALL=C alone. Fills `output` with the start of what it writes (both streams). The result is the wait
 * status; -ETIMEDOUT when it was killed after `timeout_ms`. */
int clinux_run(const char *path, const char *const *arguments, const void *input, size_t input_count,
               char *output, size_t output_capacity, size_t *output_count, int timeout_ms);

#endif
