#define _GNU_SOURCE
#include "clinux_shell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

/* The child: input from /dev/null, output into `output`, no other descriptor, default signals, its own group. */
static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int output) {
    const short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawn_file_actions_adddup2(actions, output, 1);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(actions, output, 2);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    if (error == 0)
        error = posix_spawnattr_setsigmask(attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attributes, &all);
    if (error == 0)
        error = posix_spawnattr_setpgroup(attributes, 0);
    return error != 0 ? error : posix_spawnattr_setflags(attributes, flags);
}

static int spawn(pid_t *child, char *const *arguments, char *const *environment, int output) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = prepare(&actions, &attributes, output);
        if (error == 0)
            error = posix_spawn(child, "/bin/sh", &actions, &attributes, arguments, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

int clinux_shell_spawn(const char *const *arguments, const char *const *environment, int *output) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = -1;
    /* The read end alone: the mode of the other one would be the child's, too. */
    int error = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0
                    ? errno
                    : spawn(&child, (char *const *)arguments, (char *const *)environment, ends[1]);
    close(ends[1]);
    if (error != 0) {
        close(ends[0]);
        return -error;
    }
    *output = ends[0];
    return child;
}
