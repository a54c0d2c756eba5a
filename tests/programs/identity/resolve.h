#include <netinet/in.h>
#include <stddef.h>

/* Stores up to `most` IPv4 addresses of `name` and returns how many; 0 if there is none. */
size_t resolve(const char *name, struct in_addr *found, size_t most);
