/* Command lines of the administrator. */
#ifndef CLINUX_SHELL_H
#define CLINUX_SHELL_H

/* Starts /bin/sh with `arguments` and `environment` (NULL at the ends): input from /dev/null, both outputs into a
 * pipe whose other end is `*output` and does not block, no other descriptor, default signals, a process group of
 * its own. The result is its process id, or a negated errno. */
int clinux_shell_spawn(const char *const *arguments, const char *const *environment, int *output);

#endif
