#define _GNU_SOURCE
#include "clinux_pump.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { CONTROL_OCTETS = 128 };

struct clinux_batch {
    uint32_t capacity;
    uint32_t count;
    struct mmsghdr *messages;
    struct iovec *vectors;
    struct sockaddr_storage *addresses;
    char (*controls)[CONTROL_OCTETS];
};

static int close_with(int fd) {
    int error = -errno;
    close(fd);
    return error;
}

/* Addresses */

static void put_ipv6(struct in6_addr *address, const clinux_endpoint *endpoint) {
    for (int i = 0; i < 8; i++) {
        address->s6_addr[i] = (uint8_t)(endpoint->high >> (56 - 8 * i));
        address->s6_addr[8 + i] = (uint8_t)(endpoint->low >> (56 - 8 * i));
    }
}

static void get_ipv6(clinux_endpoint *endpoint, const struct in6_addr *address) {
    endpoint->high = endpoint->low = 0;
    for (int i = 0; i < 8; i++) {
        endpoint->high = endpoint->high << 8 | address->s6_addr[i];
        endpoint->low = endpoint->low << 8 | address->s6_addr[8 + i];
    }
    endpoint->is_ipv6 = 1;
}

static socklen_t put_address(struct sockaddr_storage *storage, const clinux_endpoint *endpoint) {
    if (endpoint->is_ipv6) {
        struct sockaddr_in6 *address = (struct sockaddr_in6 *)storage;
        memset(address, 0, sizeof *address);
        address->sin6_family = AF_INET6;
        address->sin6_port = htons(endpoint->port);
        address->sin6_scope_id = endpoint->interface;
        put_ipv6(&address->sin6_addr, endpoint);
        return sizeof *address;
    }
    struct sockaddr_in *address = (struct sockaddr_in *)storage;
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_port = htons(endpoint->port);
    address->sin_addr.s_addr = htonl((uint32_t)endpoint->low);
    return sizeof *address;
}

static void get_address(clinux_endpoint *endpoint, const struct sockaddr_storage *storage) {
    memset(endpoint, 0, sizeof *endpoint);
    if (storage->ss_family == AF_INET6) {
        const struct sockaddr_in6 *address = (const struct sockaddr_in6 *)storage;
        get_ipv6(endpoint, &address->sin6_addr);
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
    if (options->receive_segments)
        set(fd, IPPROTO_UDP, UDP_GRO, 1);
    struct sockaddr_storage address;
    socklen_t length = put_address(&address, local);
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

int clinux_bound_port(int fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return -errno;
    clinux_endpoint endpoint;
    get_address(&endpoint, &address);
    return endpoint.port;
}

int clinux_source_towards(const clinux_endpoint *remote, uint32_t mark, clinux_endpoint *local) {
    int fd = socket(remote->is_ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct sockaddr_storage address;
    socklen_t length = put_address(&address, remote);
    if ((mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0)
        || connect(fd, (struct sockaddr *)&address, length) < 0)
        return close_with(fd);
    length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return close_with(fd);
    close(fd);
    get_address(local, &address);
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

/* Batches */

clinux_batch *clinux_batch_new(uint32_t capacity) {
    clinux_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return NULL;
    batch->capacity = capacity;
    batch->messages = calloc(capacity, sizeof *batch->messages);
    batch->vectors = calloc(capacity, sizeof *batch->vectors);
    batch->addresses = calloc(capacity, sizeof *batch->addresses);
    batch->controls = calloc(capacity, sizeof *batch->controls);
    if (batch->messages == NULL || batch->vectors == NULL || batch->addresses == NULL
        || batch->controls == NULL) {
        clinux_batch_free(batch);
        return NULL;
    }
    return batch;
}

void clinux_batch_free(clinux_batch *batch) {
    if (batch == NULL)
        return;
    free(batch->messages);
    free(batch->vectors);
    free(batch->addresses);
    free(batch->controls);
    free(batch);
}

static void read_controls(struct msghdr *message, clinux_datagram *datagram) {
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL;
         control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(control), sizeof info);
            datagram->local.low = ntohl(info.ipi_addr.s_addr);
        } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(control), sizeof info);
            get_ipv6(&datagram->local, &info.ipi6_addr);
        } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_TOS) {
            datagram->traffic_class = *(const uint8_t *)CMSG_DATA(control);
        } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_TCLASS) {
            int value;
            memcpy(&value, CMSG_DATA(control), sizeof value);
            datagram->traffic_class = (uint8_t)value;
        } else if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(control), sizeof segment);
            datagram->segment = (uint32_t)segment;
        }
    }
}

int clinux_receive(clinux_batch *batch, int fd, void *base, size_t stride, size_t room, uint32_t count,
                   clinux_datagram *datagrams) {
    if (count > batch->capacity)
        count = batch->capacity;
    for (uint32_t i = 0; i < count; i++) {
        batch->vectors[i] = (struct iovec){(char *)base + i * stride, room};
        batch->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->addresses[i],
            .msg_namelen = sizeof batch->addresses[i],
            .msg_iov = &batch->vectors[i],
            .msg_iovlen = 1,
            .msg_control = batch->controls[i],
            .msg_controllen = CONTROL_OCTETS,
        };
    }
    int received;
    do
        received = recvmmsg(fd, batch->messages, count, MSG_DONTWAIT, NULL);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;
    for (int i = 0; i < received; i++) {
        memset(&datagrams[i], 0, sizeof datagrams[i]);
        get_address(&datagrams[i].remote, &batch->addresses[i]);
        datagrams[i].length = batch->messages[i].msg_len;
        datagrams[i].is_truncated = (batch->messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
        read_controls(&batch->messages[i].msg_hdr, &datagrams[i]);
    }
    return received;
}

static struct cmsghdr *next_control(struct msghdr *header, size_t *used, size_t size) {
    struct cmsghdr *control = (struct cmsghdr *)((char *)header->msg_control + *used);
    *used += CMSG_SPACE(size);
    control->cmsg_len = CMSG_LEN(size);
    return control;
}

int clinux_send_add(clinux_batch *batch, const void *octets, size_t count, const clinux_endpoint *local,
                    const clinux_endpoint *remote, uint16_t segment, uint8_t traffic_class) {
    if (batch->count >= batch->capacity)
        return -ENOBUFS;
    uint32_t i = batch->count++;
    batch->vectors[i] = (struct iovec){(void *)octets, count};
    struct msghdr *header = &batch->messages[i].msg_hdr;
    *header = (struct msghdr){
        .msg_name = &batch->addresses[i],
        .msg_iov = &batch->vectors[i],
        .msg_iovlen = 1,
        .msg_control = batch->controls[i],
    };
    header->msg_namelen = put_address(&batch->addresses[i], remote);
    size_t used = 0;
    if (local->is_ipv6 == remote->is_ipv6 && (local->high | local->low) != 0) {
        if (local->is_ipv6) {
            struct in6_pktinfo info = {.ipi6_ifindex = local->interface};
            put_ipv6(&info.ipi6_addr, local);
            struct cmsghdr *control = next_control(header, &used, sizeof info);
            control->cmsg_level = IPPROTO_IPV6;
            control->cmsg_type = IPV6_PKTINFO;
            memcpy(CMSG_DATA(control), &info, sizeof info);
        } else {
            struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl((uint32_t)local->low)};
            struct cmsghdr *control = next_control(header, &used, sizeof info);
            control->cmsg_level = IPPROTO_IP;
            control->cmsg_type = IP_PKTINFO;
            memcpy(CMSG_DATA(control), &info, sizeof info);
        }
    }
    if (segment != 0) {
        struct cmsghdr *control = next_control(header, &used, sizeof segment);
        control->cmsg_level = IPPROTO_UDP;
        control->cmsg_type = UDP_SEGMENT;
        memcpy(CMSG_DATA(control), &segment, sizeof segment);
    }
    if (traffic_class != 0) {
        int value = traffic_class;
        struct cmsghdr *control = next_control(header, &used, sizeof value);
        control->cmsg_level = remote->is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
        control->cmsg_type = remote->is_ipv6 ? IPV6_TCLASS : IP_TOS;
        memcpy(CMSG_DATA(control), &value, sizeof value);
    }
    header->msg_controllen = used;
    if (used == 0)
        header->msg_control = NULL;
    return 0;
}

int clinux_send_one(int fd, const void *octets, size_t count, const clinux_endpoint *local,
                    const clinux_endpoint *remote) {
    struct mmsghdr message;
    struct iovec vector;
    struct sockaddr_storage address;
    _Alignas(struct cmsghdr) char control[1][CONTROL_OCTETS];
    memset(control, 0, sizeof control);
    clinux_batch batch = {
        .capacity = 1, .messages = &message, .vectors = &vector, .addresses = &address, .controls = control};
    clinux_send_add(&batch, octets, count, local, remote, 0, 0);
    clinux_flush_result result = clinux_send_flush(&batch, fd, 0);
    return result.sent == 1 ? 0 : result.blocked ? -EAGAIN : -EIO;
}

uint32_t clinux_send_count(const clinux_batch *batch) { return batch->count; }

clinux_flush_result clinux_send_flush(clinux_batch *batch, int fd, int patience_ms) {
    clinux_flush_result result = {0};
    uint32_t next = 0;
    int retried = 0;
    int64_t deadline = 0;
    while (next < batch->count) {
        int done = sendmmsg(fd, &batch->messages[next], batch->count - next, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done > 0) {
            next += (uint32_t)done;
            result.sent += (uint32_t)done;
            retried = 0;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            int64_t now = clinux_boottime() / 1000000;
            if (deadline == 0)
                deadline = now + patience_ms;
            /* An error of the socket ends the wait too, but makes no room: look for room alone. */
            if (now < deadline && poll(&wait, 1, (int)(deadline - now)) > 0 && (wait.revents & POLLOUT))
                continue;
            result.blocked += batch->count - next;
            break;
        }
        result.errors += 1;
        /* An ICMP error about an earlier datagram is reported once by the next call: try again. */
        if (!retried) {
            retried = 1;
            continue;
        }
        result.refused += 1;
        next += 1;
        retried = 0;
    }
    batch->count = 0;
    return result;
}

int clinux_watch_open(int fd) {
    int watch = epoll_create1(EPOLL_CLOEXEC);
    if (watch < 0)
        return -errno;
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event) < 0)
        return close_with(watch);
    return watch;
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
    get_address(&error->remote, &address);
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

int clinux_close(int fd) { return close(fd) < 0 ? -errno : 0; }

int64_t clinux_boottime(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
