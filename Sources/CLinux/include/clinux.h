/* What the C library does not offer to Swift: thin calls, no logic. */
#ifndef CLINUX_H
#define CLINUX_H

#include "clinux_net.h"
#include "clinux_shell.h"
#if __has_include("clinux_pump.h")
#include "clinux_pump.h"
#endif

#endif
