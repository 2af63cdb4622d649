#define _GNU_SOURCE
#include "clinux_net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int close_with(int fd) {
    int error = -errno;
    close(fd);
    return error;
}

/* TUN */

int clinux_tun_open(const char *name, unsigned flags, unsigned offload) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof request.ifr_name)
        return -EINVAL;
    memcpy(request.ifr_name, name, length);
    request.ifr_flags = (short)flags;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return close_with(fd);
    if (flags & IFF_VNET_HDR) {
        int size = 10;
        if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
            return close_with(fd);
        if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)offload) < 0)
            return close_with(fd);
    }
    return fd;
}

int clinux_tun_set_persist(int fd, int persistent) {
    return ioctl(fd, TUNSETPERSIST, persistent ? 1UL : 0UL) < 0 ? -errno : 0;
}

int clinux_tun_set_send_buffer(int fd, int octets) {
    return ioctl(fd, TUNSETSNDBUF, &octets) < 0 ? -errno : 0;
}

int clinux_tun_set_offload(int fd, unsigned offload) {
    return ioctl(fd, TUNSETOFFLOAD, (unsigned long)offload) < 0 ? -errno : 0;
}

/* Netlink */

int clinux_netlink_open(uint32_t groups, int receive_buffer, int timeout_ms) {
    int kind = SOCK_RAW | SOCK_CLOEXEC | (timeout_ms > 0 ? 0 : SOCK_NONBLOCK);
    int fd = socket(AF_NETLINK, kind, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    int on = 1;
    /* Older kernels lack these three; all works without them, less well. */
    setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
    setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
    if (receive_buffer > 0
        && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof receive_buffer) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (timeout_ms > 0) {
        struct timeval timeout = {timeout_ms / 1000, (timeout_ms % 1000) * 1000};
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) < 0)
            return close_with(fd);
    }
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return close_with(fd);
    return fd;
}

ssize_t clinux_netlink_send(int fd, const void *octets, size_t count) {
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t sent;
    do
        sent = sendto(fd, octets, count, 0, (struct sockaddr *)&kernel, sizeof kernel);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

ssize_t clinux_netlink_receive(int fd, void *octets, size_t capacity) {
    for (;;) {
        struct sockaddr_nl sender;
        memset(&sender, 0, sizeof sender);
        socklen_t length = sizeof sender;
        ssize_t received = recvfrom(fd, octets, capacity, MSG_TRUNC, (struct sockaddr *)&sender, &length);
        if (received < 0 && errno == EINTR)
            continue;
        if (received < 0)
            return -errno;
        if (length < sizeof sender || sender.nl_pid != 0)
            continue;
        return (size_t)received > capacity ? -EMSGSIZE : received;
    }
}

/* Timer */

int clinux_timer_open(void) {
    int fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_timer_set(int fd, int64_t seconds, int64_t nanoseconds) {
    struct itimerspec when;
    memset(&when, 0, sizeof when);
    when.it_value.tv_sec = seconds;
    when.it_value.tv_nsec = nanoseconds;
    return timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL) < 0 ? -errno : 0;
}

int clinux_timer_expired(int fd) {
    uint64_t count = 0;
    ssize_t size = read(fd, &count, sizeof count);
    return size == sizeof count && count > 0;
}

/* Signals */

int clinux_pipe(int ends[2]) {
    return pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
}

static _Atomic int signal_target[NSIG];

static void forward_signal(int number) {
    int saved = errno;
    int fd = atomic_load(&signal_target[number]) - 1;
    uint8_t octet = (uint8_t)number;
    /* A full pipe already holds a wake-up: nothing is lost but the count. */
    if (fd >= 0 && write(fd, &octet, 1) < 0) {
    }
    errno = saved;
}

static int set_action(int number, void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    return sigaction(number, &action, NULL) < 0 ? -errno : 0;
}

int clinux_signal_forward(int number, int fd) {
    if (number <= 0 || number >= NSIG || fd < 0)
        return -EINVAL;
    atomic_store(&signal_target[number], fd + 1);
    int result = set_action(number, forward_signal);
    if (result < 0)
        return result;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    return -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int clinux_signal_restore(int number, int fd) {
    if (number <= 0 || number >= NSIG)
        return -EINVAL;
    int expected = fd + 1;
    if (!atomic_compare_exchange_strong(&signal_target[number], &expected, 0))
        return 0;
    return set_action(number, SIG_DFL);
}

int clinux_signal_ignore(int number) {
    return set_action(number, SIG_IGN);
}

/* Limits */

int clinux_set_not_dumpable(void) {
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

int clinux_limit_core_to_zero(void) {
    struct rlimit none = {0, 0};
    return setrlimit(RLIMIT_CORE, &none) < 0 ? -errno : 0;
}

int clinux_raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

/* AF_UNIX */

int clinux_unix_send(const char *path, const void *octets, size_t count) {
    struct sockaddr_un address;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address.sun_path)
        return -EINVAL;
    memcpy(address.sun_path, path, length);
    /* A path has its terminator counted, an abstract name must not. */
    size_t total = offsetof(struct sockaddr_un, sun_path) + length + 1;
    if (path[0] == '@') {
        address.sun_path[0] = 0;
        total -= 1;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* A manager that does not read must not hang the control queue. */
    struct timeval patience = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ssize_t sent = sendto(fd, octets, count, MSG_NOSIGNAL, (struct sockaddr *)&address, (socklen_t)total);
    int result = sent < 0 ? -errno : 0;
    close(fd);
    return result;
}

ssize_t clinux_unix_receive(int fd, void *octets, size_t capacity, int *passed) {
    union {
        char octets[CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {octets, capacity};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.octets;
    message.msg_controllen = sizeof control.octets;
    *passed = -1;
    ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (count < 0)
        return -errno;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS)
            continue;
        size_t descriptors = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < descriptors; index++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(item) + index * sizeof(int), sizeof descriptor);
            if (*passed < 0)
                *passed = descriptor;
            else
                close(descriptor);
        }
    }
    return count;
}

ssize_t clinux_unix_send_descriptor(int fd, const void *octets, size_t count, int passed) {
    union {
        char octets[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {(void *)octets, count};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.octets;
    message.msg_controllen = sizeof control.octets;
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(item), &passed, sizeof passed);
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

/* Child programs */

static int64_t milliseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int input_file(const void *input, size_t count) {
    int fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < count;) {
        ssize_t written = write(fd, (const char *)input + done, count - done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return close_with(fd);
        done += (size_t)written;
    }
    if (lseek(fd, 0, SEEK_SET) < 0)
        return close_with(fd);
    return fd;
}

static int spawn_with(const char *path, const char *const *arguments, int input, int output, pid_t *child) {
    static char *const environment[] = {(char *)"LC_ALL=C", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    const short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return -error;
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return -error;
    }
    if ((error = posix_spawn_file_actions_adddup2(&actions, input, 0)) == 0
        && (error = posix_spawn_file_actions_adddup2(&actions, output, 1)) == 0
        && (error = posix_spawn_file_actions_adddup2(&actions, output, 2)) == 0
        && (error = posix_spawnattr_setsigmask(&attributes, &none)) == 0
        && (error = posix_spawnattr_setsigdefault(&attributes, &all)) == 0
        && (error = posix_spawnattr_setflags(&attributes, flags)) == 0)
        error = posix_spawn(child, path, &actions, &attributes, (char *const *)arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

/* Reads `fd` to its end, keeps the first `capacity` octets; 0, or a negated errno. */
static int collect(int fd, char *output, size_t capacity, size_t *count, int64_t deadline) {
    char spare[4096];
    for (;;) {
        int64_t left = deadline - milliseconds_now();
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = left <= 0 ? 0 : poll(&wait, 1, (int)left);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            return -errno;
        if (ready == 0)
            return -ETIMEDOUT;
        int full = *count >= capacity;
        ssize_t size = read(fd, full ? spare : output + *count, full ? sizeof spare : capacity - *count);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return -errno;
        if (size == 0)
            return 0;
        if (!full)
            *count += (size_t)size;
    }
}

int clinux_run(const char *path, const char *const *arguments, const void *input, size_t input_count,
               char *output, size_t output_capacity, size_t *output_count, int timeout_ms) {
    *output_count = 0;
    int source = input_file(input, input_count);
    if (source < 0)
        return source;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return close_with(source);
    pid_t child = -1;
    int result = spawn_with(path, arguments, source, ends[1], &child);
    close(source);
    close(ends[1]);
    if (result == 0) {
        result = collect(ends[0], output, output_capacity, output_count, milliseconds_now() + timeout_ms);
        if (result < 0)
            kill(child, SIGKILL);
        int status = 0;
        pid_t waited;
        do
            waited = waitpid(child, &status, 0);
        while (waited < 0 && errno == EINTR);
        if (result == 0)
            result = waited < 0 ? -errno : status;
    }
    close(ends[0]);
    return result;
}
