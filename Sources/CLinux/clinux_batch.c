#define _GNU_SOURCE
#include "clinux_pump.h"

#include "clinux_address.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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
            clinux_get_ipv6(&datagram->local, &info.ipi6_addr);
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
        clinux_get_address(&datagrams[i].remote, &batch->addresses[i]);
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
    header->msg_namelen = clinux_put_address(&batch->addresses[i], remote);
    size_t used = 0;
    if (local->is_ipv6 == remote->is_ipv6 && (local->high | local->low) != 0) {
        if (local->is_ipv6) {
            struct in6_pktinfo info = {.ipi6_ifindex = local->interface};
            clinux_put_ipv6(&info.ipi6_addr, local);
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
    if (traffic_class != 0) {
        int value = traffic_class;
        struct cmsghdr *control = next_control(header, &used, sizeof value);
        control->cmsg_level = remote->is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
        control->cmsg_type = remote->is_ipv6 ? IPV6_TCLASS : IP_TOS;
        memcpy(CMSG_DATA(control), &value, sizeof value);
    }
    /* The last one, so that it can be taken out. */
    if (segment != 0) {
        struct cmsghdr *control = next_control(header, &used, sizeof segment);
        control->cmsg_level = IPPROTO_UDP;
        control->cmsg_type = UDP_SEGMENT;
        memcpy(CMSG_DATA(control), &segment, sizeof segment);
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

/* The octets of each datagram of a message that the kernel is to cut, or 0; the request is taken out. */
static size_t take_segment(struct msghdr *header) {
    struct cmsghdr *last = NULL;
    size_t segment = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_SEGMENT) {
            uint16_t value;
            memcpy(&value, CMSG_DATA(control), sizeof value);
            segment = value;
            last = control;
        }
    }
    /* It was added as the last one. */
    if (last != NULL)
        header->msg_controllen = (size_t)((char *)last - (char *)header->msg_control);
    if (header->msg_controllen == 0)
        header->msg_control = NULL;
    return segment;
}

/* Waits for room: 1 when there is some, 0 when the patience is used up. */
static int wait_room(int fd, int patience_ms, int64_t *deadline) {
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int64_t now = clinux_boottime() / 1000000;
    if (*deadline == 0)
        *deadline = now + patience_ms;
    /* An error of the socket ends the wait too, but makes no room: look for room alone. */
    return now < *deadline && poll(&wait, 1, (int)(*deadline - now)) > 0 && (wait.revents & POLLOUT);
}

/* Sends one datagram, which may fail so many times; counts what becomes of it. */
static void send_single(int fd, const struct msghdr *header, int attempts, int patience_ms, int64_t *deadline,
                        clinux_flush_result *result) {
    while (attempts > 0) {
        if (sendmsg(fd, header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            result->sent += 1;
            return;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (wait_room(fd, patience_ms, deadline))
                continue;
            result->blocked += 1;
            return;
        }
        /* An ICMP error about an earlier datagram is reported once by the next call: try again. */
        result->errors += 1;
        attempts -= 1;
    }
    result->refused += 1;
}

/* Sends the datagrams of a message one by one. */
static void send_singly(int fd, struct msghdr *header, size_t segment, int patience_ms, int64_t *deadline,
                        clinux_flush_result *result) {
    struct iovec whole = header->msg_iov[0];
    for (size_t done = 0; done < whole.iov_len; done += segment) {
        size_t rest = whole.iov_len - done;
        struct iovec part = {(char *)whole.iov_base + done, rest < segment ? rest : segment};
        struct msghdr single = *header;
        single.msg_iov = &part;
        send_single(fd, &single, 2, patience_ms, deadline, result);
    }
}

/* Datagrams of a message. */
static uint32_t datagrams(const struct msghdr *header) {
    struct msghdr copy = *header;
    size_t segment = take_segment(&copy);
    return segment == 0 ? 1 : (uint32_t)((copy.msg_iov[0].iov_len + segment - 1) / segment);
}

clinux_flush_result clinux_send_flush(clinux_batch *batch, int fd, int patience_ms) {
    clinux_flush_result result = {0};
    uint32_t next = 0;
    int64_t deadline = 0;
    while (next < batch->count) {
        int done = sendmmsg(fd, &batch->messages[next], batch->count - next, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done > 0) {
            for (int i = 0; i < done; i++)
                result.sent += datagrams(&batch->messages[next + (uint32_t)i].msg_hdr);
            next += (uint32_t)done;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (wait_room(fd, patience_ms, &deadline))
                continue;
            for (uint32_t i = next; i < batch->count; i++)
                result.blocked += datagrams(&batch->messages[i].msg_hdr);
            break;
        }
        result.errors += 1;
        /* EINVAL, EMSGSIZE: a datagram that the device does not take; EIO: a device that does not sum. One by one
         * each gets its own answer. */
        struct msghdr *header = &batch->messages[next].msg_hdr;
        int error = errno;
        size_t segment = take_segment(header);
        if (segment != 0) {
            result.unsegmented += 1;
            result.segment_error = error;
            send_singly(fd, header, segment, patience_ms, &deadline, &result);
        } else {
            send_single(fd, header, 1, patience_ms, &deadline, &result);
        }
        next += 1;
    }
    batch->count = 0;
    return result;
}
