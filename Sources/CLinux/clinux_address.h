/* Between the representation of addresses that Swift sees and the kernel's. */
#ifndef CLINUX_ADDRESS_H
#define CLINUX_ADDRESS_H

#include "clinux_pump.h"

#include <netinet/in.h>
#include <sys/socket.h>

void clinux_put_ipv6(struct in6_addr *address, const clinux_endpoint *endpoint);
void clinux_get_ipv6(clinux_endpoint *endpoint, const struct in6_addr *address);
socklen_t clinux_put_address(struct sockaddr_storage *storage, const clinux_endpoint *endpoint);
void clinux_get_address(clinux_endpoint *endpoint, const struct sockaddr_storage *storage);

#endif
