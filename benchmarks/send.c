/* The floor of fan-out: the same bytes to the same sockets by send(2), and nothing else. */

#include <stddef.h>
#include <sys/socket.h>

/* Send `data` once to every socket; returns how many did not take all of it. */
int send_to_all(const int *sockets, int count, const void *data, size_t size)
{
    int failed = 0;
    for (int i = 0; i < count; i++)
        if (send(sockets[i], data, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size)
            failed++;
    return failed;
}
