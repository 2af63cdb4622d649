#define _GNU_SOURCE
#include "clinux_pump.h"

#include "clinux_address.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static int close_with(int fd) {
    int error = -errno;
    close(fd);
    return error;
}

/* Addresses */

void clinux_put_ipv6(struct in6_addr *address, const clinux_endpoint *endpoint) {
    for (int i = 0; i < 8; i++) {
        address->s6_addr[i] = (uint8_t)(endpoint->high >> (56 - 8 * i));
        address->s6_addr[8 + i] = (uint8_t)(endpoint->low >> (56 - 8 * i));
    }
}

void clinux_get_ipv6(clinux_endpoint *endpoint, const struct in6_addr *address) {
    endpoint->high = endpoint->low = 0;
    for (int i = 0; i < 8; i++) {
        endpoint->high = endpoint->high << 8 | address->s6_addr[i];
        endpoint->low = endpoint->low << 8 | address->s6_addr[8 + i];
    }
    endpoint->is_ipv6 = 1;
}

socklen_t clinux_put_address(struct sockaddr_storage *storage, const clinux_endpoint *endpoint) {
    if (endpoint->is_ipv6) {
        struct sockaddr_in6 *address = (struct sockaddr_in6 *)storage;
        memset(address, 0, sizeof *address);
        address->sin6_family = AF_INET6;
        address->sin6_port = htons(endpoint->port);
        address->sin6_scope_id = endpoint->interface;
        clinux_put_ipv6(&address->sin6_addr, endpoint);
        return sizeof *address;
    }
    struct sockaddr_in *address = (struct sockaddr_in *)storage;
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_port = htons(endpoint->port);
    address->sin_addr.s_addr = htonl((uint32_t)endpoint->low);
    return sizeof *address;
}

void clinux_get_address(clinux_endpoint *endpoint, const struct sockaddr_storage *storage) {
    memset(endpoint, 0, sizeof *endpoint);
    if (storage->ss_family == AF_INET6) {
        const struct sockaddr_in6 *address = (const struct sockaddr_in6 *)storage;
        clinux_get_ipv6(endpoint, &address->sin6_addr);
        endpoint->port = ntohs(address->sin6_port);
        endpoint->interface = address->sin6_scope_id;
    } else if (storage->ss_family == AF_INET) {
        const struct sockaddr_in *address = (const struct sockaddr_in *)storage;
        endpoint->low = ntohl(address->sin_addr.s_addr);
        endpoint->port = ntohs(address->sin_port);
    }
}

/* Sockets */

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}

int clinux_set_dont_fragment(int fd, int is_ipv6, int dont_fragment) {
    /* PROBE sets DF and heeds the device's MTU alone, not the cache that any ICMP message may lower. OMIT
     * leaves DF clear and does not heed the cache either; IPv6 has no router that cuts, so there the size is
     * the least that every link carries. */
    int result = 0;
    if (is_ipv6) {
        result = set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, dont_fragment ? IPV6_PMTUDISC_PROBE : IPV6_PMTUDISC_DONT);
        if (result == 0)
            result = set(fd, IPPROTO_IPV6, IPV6_MTU, dont_fragment ? 0 : 1280);
    } else {
        result = set(fd, IPPROTO_IP, IP_MTU_DISCOVER, dont_fragment ? IP_PMTUDISC_PROBE : IP_PMTUDISC_OMIT);
    }
    return result < 0 ? -errno : 0;
}

static int configure(int fd, int is_ipv6, const clinux_socket_options *options) {
    int level = is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
    if (options->mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &options->mark, sizeof options->mark) < 0)
        return -1;
    if (options->receive_buffer > 0 && set(fd, SOL_SOCKET, SO_RCVBUFFORCE, options->receive_buffer) < 0)
        set(fd, SOL_SOCKET, SO_RCVBUF, options->receive_buffer);
    if (options->send_buffer > 0 && set(fd, SOL_SOCKET, SO_SNDBUFFORCE, options->send_buffer) < 0)
        set(fd, SOL_SOCKET, SO_SNDBUF, options->send_buffer);
    if (set(fd, level, is_ipv6 ? IPV6_RECVPKTINFO : IP_PKTINFO, 1) < 0
        || set(fd, level, is_ipv6 ? IPV6_RECVTCLASS : IP_RECVTOS, 1) < 0
        || (options->receive_errors && set(fd, level, is_ipv6 ? IPV6_RECVERR : IP_RECVERR, 1) < 0))
        return -1;
    return clinux_set_dont_fragment(fd, is_ipv6, options->dont_fragment) < 0 ? -1 : 0;
}

int clinux_udp_open(const clinux_endpoint *local, const clinux_socket_options *options) {
    int family = local->is_ipv6 ? AF_INET6 : AF_INET;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if ((local->is_ipv6 && set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)
        || (options->reuse_port && set(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
        || configure(fd, local->is_ipv6, options) < 0)
        return close_with(fd);
    struct sockaddr_storage address;
    socklen_t length = clinux_put_address(&address, local);
    if (bind(fd, (struct sockaddr *)&address, length) < 0)
        return close_with(fd);
    return fd;
}

int clinux_raw_esp_open(int is_ipv6, const clinux_socket_options *options) {
    int fd = socket(is_ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ESP);
    if (fd < 0)
        return -errno;
    return configure(fd, is_ipv6, options) < 0 ? close_with(fd) : fd;
}

int clinux_set_receive_segments(int fd, int on) {
    return set(fd, IPPROTO_UDP, UDP_GRO, on) < 0 ? -errno : 0;
}

int clinux_probe_send_segments(int fd) {
    int value;
    socklen_t length = sizeof value;
    return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &length) < 0 ? -errno : 0;
}

int clinux_bound_port(int fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return -errno;
    clinux_endpoint endpoint;
    clinux_get_address(&endpoint, &address);
    return endpoint.port;
}

int clinux_source_towards(const clinux_endpoint *remote, uint32_t mark, clinux_endpoint *local) {
    int fd = socket(remote->is_ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct sockaddr_storage address;
    socklen_t length = clinux_put_address(&address, remote);
    if ((mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0)
        || connect(fd, (struct sockaddr *)&address, length) < 0)
        return close_with(fd);
    length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return close_with(fd);
    close(fd);
    clinux_get_address(local, &address);
    return 0;
}

int clinux_steer_esp(int fd, uint32_t workers) {
    if (workers == 0 || (workers & (workers - 1)) != 0)
        return -EINVAL;
    /* The program sees the UDP payload. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 4, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, workers - 1),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0 ? -errno : 0;
}

int clinux_filter_raw_esp(int fd, int is_ipv6, uint32_t number, uint32_t workers) {
    if (workers == 0 || (workers & (workers - 1)) != 0)
        return -EINVAL;
    /* By IPv4 the program sees the IP header too. */
    struct sock_filter v4[] = {
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, workers - 1),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_filter v6[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, workers - 1),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = sizeof v4 / sizeof v4[0], .filter = v4};
    if (is_ipv6)
        program = (struct sock_fprog){.len = sizeof v6 / sizeof v6[0], .filter = v6};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0 ? -errno : 0;
}

int clinux_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}

int clinux_receive_error(int fd, clinux_outer_error *error) {
    struct sockaddr_storage address;
    union {
        struct cmsghdr align;
        char octets[512];
    } control;
    struct iovec vector = {error->quoted, sizeof error->quoted};
    struct msghdr message = {
        .msg_name = &address,
        .msg_namelen = sizeof address,
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = control.octets,
        .msg_controllen = sizeof control.octets,
    };
    memset(error, 0, sizeof *error);
    memset(&address, 0, sizeof address);
    ssize_t count;
    do
        count = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return 0;
    clinux_get_address(&error->remote, &address);
    error->quoted_count = (uint32_t)count;
    for (struct cmsghdr *entry = CMSG_FIRSTHDR(&message); entry != NULL; entry = CMSG_NXTHDR(&message, entry)) {
        int is_error = (entry->cmsg_level == IPPROTO_IP && entry->cmsg_type == IP_RECVERR)
                       || (entry->cmsg_level == IPPROTO_IPV6 && entry->cmsg_type == IPV6_RECVERR);
        if (!is_error)
            continue;
        struct sock_extended_err details;
        memcpy(&details, CMSG_DATA(entry), sizeof details);
        error->is_local = details.ee_origin == SO_EE_ORIGIN_LOCAL;
        error->is_too_big = details.ee_errno == EMSGSIZE;
        error->mtu = details.ee_info;
    }
    return 1;
}

/* Files */

ssize_t clinux_read(int fd, void *octets, size_t count) {
    ssize_t result;
    do
        result = read(fd, octets, count);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_write(int fd, const void *octets, size_t count) {
    ssize_t result;
    do
        result = write(fd, octets, count);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_write_pieces(int fd, const void *base, const clinux_piece *pieces, uint32_t count) {
    struct iovec vectors[CLINUX_PIECES];
    if (count > CLINUX_PIECES)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++)
        vectors[i] = (struct iovec){(char *)base + pieces[i].offset, pieces[i].length};
    ssize_t result;
    do
        result = writev(fd, vectors, (int)count);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int clinux_poller_open(void) {
    int poller = epoll_create1(EPOLL_CLOEXEC);
    return poller < 0 ? -errno : poller;
}

int clinux_poller_add(int poller, int fd, uint32_t number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void clinux_poller_remove(int poller, int fd) { epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL); }

uint32_t clinux_poller_wait(int poller, int timeout_ms) {
    struct epoll_event events[32];
    int count = epoll_wait(poller, events, 32, timeout_ms);
    uint32_t ready = 0;
    for (int i = 0; i < count; i++)
        ready |= 1u << (events[i].data.u32 & 31);
    return ready;
}

int clinux_schedule_batch(int on) {
    struct sched_param none = {0};
    if (on && sched_getscheduler(0) != SCHED_OTHER)
        return 0;
    return sched_setscheduler(0, on ? SCHED_BATCH : SCHED_OTHER, &none) == 0;
}

int clinux_event_open(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void clinux_event_signal(int fd) {
    uint64_t one = 1;
    /* It fails only when it is readable already. */
    ssize_t ignored = write(fd, &one, sizeof one);
    (void)ignored;
}

void clinux_event_clear(int fd) {
    uint64_t count;
    ssize_t ignored = read(fd, &count, sizeof count);
    (void)ignored;
}

int clinux_close(int fd) { return close(fd) < 0 ? -errno : 0; }

int64_t clinux_boottime(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
