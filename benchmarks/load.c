/* A load of WebSocket clients in one thread: it connects, asks, reads, and notes when what came.
 *
 *   load HOST PORT PACE SLEEPERS READY [SLEEPER_BUFFER [HEADERS]]
 *
 * The first lines of the input, up to an empty one, are the text messages that each client sends
 * once it is connected. READY is a text: a client is ready when a message with it has come. Then
 * each line is a command, answered by one line of JSON:
 *
 *   open N     connect N more clients, PACE at a time; answered when all are ready
 *   stall N    the last N clients stop reading;  go: they go on
 *   report     counters and marks since the last report
 *   end
 *
 * A mark is the text "mark-<number>" in a message, counting upwards. A client that sees a later
 * one has what belongs to those between. For each mark: how many clients have it, and when the last
 * one got it (nanoseconds of the monotonic clock); and the same for all but the last SLEEPERS
 * clients, the ones that stay awake. Those last ones have small receive buffers if SLEEPER_BUFFER
 * says so. HEADERS, each with its line end, are added to the request. No TLS; a client that asks for
 * deflate does not inflate, so it sees READY and marks in short messages only.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_MARKS 65536
#define CHUNK (256 << 10)

struct client {
    int fd;
    int upgraded, ready, closed, stalled;
    long mark;                    /* the last one seen; -1 before the first */
    char *rest;                   /* the begin of a frame whose end has not come */
    size_t rest_size, rest_room;
};

struct mark {
    int all, awake;
    int64_t all_ns, awake_ns;
};

static struct client *clients;
static int client_count, client_room, opened_wanted, connecting, ready_count, closed_count;
static int pace, sleepers, sleeper_buffer, epoll_fd;
static const char *ready_text;
static struct sockaddr_in address;
static char *host;
static const char *headers = "";
static char *messages;            /* masked frames, ready to send */
static size_t messages_size;
static struct mark marks[MAX_MARKS];
static long newest_mark = -1, reported_mark = -1;
static long frames, changes, close_code;
static int64_t bytes;
static int opening;
static char chunk[CHUNK];

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Append a client's frame; a mask of zeros is a mask, too (RFC 6455, 5.3). */
static void add_frame(char **to, size_t *size, int opcode, const char *payload, size_t length)
{
    char head[14];
    size_t n = 0;
    head[n++] = (char)(0x80 | opcode);
    if (length < 126) {
        head[n++] = (char)(0x80 | length);
    } else if (length < 65536) {
        head[n++] = (char)(0x80 | 126);
        head[n++] = (char)(length >> 8);
        head[n++] = (char)length;
    } else {
        fprintf(stderr, "load: message too long\n");
        exit(1);
    }
    memset(head + n, 0, 4);
    n += 4;
    *to = realloc(*to, *size + n + length);
    memcpy(*to + *size, head, n);
    memcpy(*to + *size + n, payload, length);
    *size += n + length;
}

static void end_client(struct client *c)
{
    if (c->closed)
        return;
    c->closed = 1;
    closed_count++;
    if (!c->ready)
        connecting--;
    close(c->fd);
    free(c->rest);
    c->rest = NULL;
}

static void write_all(struct client *c, const char *data, size_t size)
{
    while (size) {
        ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            end_client(c);
            return;
        }
        data += n;
        size -= (size_t)n;
    }
}

static void watch(struct client *c, int operation)
{
    struct epoll_event e = {.events = c->stalled ? 0 : EPOLLIN, .data.u32 = (uint32_t)(c - clients)};
    if (epoll_ctl(epoll_fd, operation, c->fd, &e) < 0)
        die("epoll_ctl");
}

static void open_one(void)
{
    if (client_count == client_room) {
        client_room = client_room ? 2 * client_room : 1024;
        clients = realloc(clients, sizeof *clients * (size_t)client_room);
    }
    struct client *c = &clients[client_count];
    memset(c, 0, sizeof *c);
    c->mark = -1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0)
        die("socket");
    int yes = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (sleeper_buffer && client_count >= opened_wanted - sleepers)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &sleeper_buffer, sizeof sleeper_buffer);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    char request[1024];
    int n = snprintf(request, sizeof request,
                     "GET /ws HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Protocol: xoproxy.v1.json\r\n%s\r\n",
                     host, ntohs(address.sin_port), headers);
    if (n >= (int)sizeof request) {
        fprintf(stderr, "load: headers too long\n");
        exit(1);
    }
    client_count++;
    connecting++;
    watch(c, EPOLL_CTL_ADD);
    write_all(c, request, (size_t)n);
}

static long number_after(const char *text, size_t size, const char *name)
{
    const char *found = memmem(text, size, name, strlen(name));
    return found ? strtol(found + strlen(name), NULL, 10) : -1;
}

/* The last one: a frame may hold several messages. */
static long last_mark(const char *text, size_t size)
{
    static const char name[] = "mark-";
    const char *end = text + size, *at = text, *found = NULL;
    while ((at = memmem(at, (size_t)(end - at), name, sizeof name - 1)))
        found = at += sizeof name - 1;
    return found ? strtol(found, NULL, 10) : -1;
}

static void note_mark(struct client *c, long mark, int64_t at)
{
    int awake = c - clients < client_count - sleepers;
    long first = c->mark + 1;
    if (c->mark < 0) {
        c->mark = mark;           /* what it began with */
        return;
    }
    if (first <= reported_mark)
        first = reported_mark + 1;
    for (long m = first; m <= mark; m++) {
        struct mark *k = &marks[m % MAX_MARKS];
        if (m > newest_mark) {
            newest_mark = m;
            memset(k, 0, sizeof *k);
        }
        k->all++;
        k->all_ns = at;
        if (awake) {
            k->awake++;
            k->awake_ns = at;
        }
    }
    if (mark > c->mark)
        c->mark = mark;
}

static void on_message(struct client *c, const char *text, size_t size, int64_t at)
{
    frames++;
    if (!c->ready && memmem(text, size, ready_text, strlen(ready_text))) {
        c->ready = 1;
        ready_count++;
        connecting--;
    }
    if (memmem(text, size < 64 ? size : 64, "\"patch\"", 7)) {
        long from = number_after(text, size, "\"from\":"), to = number_after(text, size, "\"to\":");
        if (from >= 0 && !memmem(text, size, "\"more\":true", 11))
            changes += to - from;
    }
    long mark = last_mark(text, size);
    if (mark >= 0)
        note_mark(c, mark, at);
}

static void on_frame(struct client *c, int opcode, const char *payload, size_t size, int64_t at)
{
    if (opcode == 1) {
        on_message(c, payload, size, at);
    } else if (opcode == 9) {
        char *pong = NULL;
        size_t n = 0;
        add_frame(&pong, &n, 10, payload, size);
        write_all(c, pong, n);
        free(pong);
    } else if (opcode == 8) {
        close_code = size >= 2 ? ((unsigned char)payload[0] << 8 | (unsigned char)payload[1]) : 1005;
        end_client(c);
    }
}

/* Take whole frames from the front of `data`; returns how many bytes they had. */
static size_t take_frames(struct client *c, const char *data, size_t size, int64_t at)
{
    size_t done = 0;
    while (size - done >= 2 && !c->closed) {
        const unsigned char *p = (const unsigned char *)data + done;
        size_t head = 2, length = p[1] & 127;
        if (length == 126) {
            head = 4;
            if (size - done < head)
                break;
            length = (size_t)p[2] << 8 | p[3];
        } else if (length == 127) {
            head = 10;
            if (size - done < head)
                break;
            length = 0;
            for (int i = 2; i < 10; i++)
                length = length << 8 | p[i];
        }
        if (size - done < head + length)
            break;
        on_frame(c, p[0] & 15, (const char *)p + head, length, at);
        done += head + length;
    }
    return done;
}

static size_t take(struct client *c, const char *data, size_t size, int64_t at)
{
    size_t done = 0;
    if (!c->upgraded) {
        const char *end = memmem(data, size, "\r\n\r\n", 4);
        if (!end)
            return 0;
        if (size < 12 || memcmp(data + 9, "101", 3)) {
            fprintf(stderr, "load: refused: %.*s\n", (int)(size < 300 ? size : 300), data);
            exit(1);
        }
        c->upgraded = 1;
        done = (size_t)(end + 4 - data);
        write_all(c, messages, messages_size);
    }
    return done + take_frames(c, data + done, size - done, at);
}

static void on_readable(struct client *c)
{
    ssize_t n = recv(c->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end_client(c);
        return;
    }
    int64_t at = now_ns();
    bytes += n;
    const char *data = chunk;
    size_t size = (size_t)n;
    if (c->rest_size) {
        if (c->rest_room < c->rest_size + size) {
            c->rest_room = c->rest_size + size;
            c->rest = realloc(c->rest, c->rest_room);
        }
        memcpy(c->rest + c->rest_size, data, size);
        size += c->rest_size;
        data = c->rest;
    }
    size_t done = take(c, data, size, at);
    if (c->closed)
        return;
    size_t left = size - done;
    if (left > c->rest_room) {
        c->rest_room = left;
        c->rest = realloc(c->rest, left);
    }
    if (left)
        memmove(c->rest, data + done, left);
    c->rest_size = left;
    if (!left && c->rest_room > 4096) {
        free(c->rest);
        c->rest = NULL;
        c->rest_room = 0;
    }
}

static void report(void)
{
    printf("{\"clients\":%d,\"ready\":%d,\"closed\":%d,\"close_code\":%ld,\"frames\":%ld,"
           "\"changes\":%ld,\"bytes\":%lld,\"marks\":[",
           client_count, ready_count, closed_count, close_code, frames, changes, (long long)bytes);
    long first = newest_mark - reported_mark > MAX_MARKS ? newest_mark - MAX_MARKS : reported_mark;
    for (long m = first + 1; m <= newest_mark; m++) {
        struct mark *k = &marks[m % MAX_MARKS];
        printf("%s[%ld,%d,%lld,%d,%lld]", m == first + 1 ? "" : ",", m, k->all,
               (long long)k->all_ns, k->awake, (long long)k->awake_ns);
    }
    printf("]}\n");
    fflush(stdout);
    reported_mark = newest_mark;
    frames = changes = 0;
    bytes = 0;
}

static void set_stalled(int count, int stalled)
{
    for (int i = client_count - count < 0 ? 0 : client_count - count; i < client_count; i++)
        if (!clients[i].closed && clients[i].stalled != stalled) {
            clients[i].stalled = stalled;
            watch(&clients[i], EPOLL_CTL_MOD);
        }
}

static void on_command(const char *line)
{
    int n = 0;
    if (sscanf(line, "open %d", &n) == 1) {
        opened_wanted += n;
        opening = 1;
        return;
    }
    if (sscanf(line, "stall %d", &n) == 1)
        set_stalled(n, 1);
    else if (!strncmp(line, "go", 2))
        set_stalled(client_count, 0);
    else if (!strncmp(line, "report", 6)) {
        report();
        return;
    } else
        exit(0);
    printf("{}\n");
    fflush(stdout);
}

static void read_commands(void)
{
    static char line[256];
    static size_t size;
    char c;
    for (;;) {
        ssize_t n = read(0, &c, 1);
        if (n <= 0)
            exit(0);
        if (c == '\n') {
            line[size] = 0;
            size = 0;
            on_command(line);
            return;
        }
        if (size < sizeof line - 1)
            line[size++] = c;
    }
}

/* Read the messages to send, byte by byte: the commands that follow are for epoll to see. */
static void read_messages(void)
{
    char *line = NULL;
    size_t size = 0;
    char c;
    while (read(0, &c, 1) == 1) {
        if (c != '\n') {
            line = realloc(line, size + 1);
            line[size++] = c;
        } else if (size) {
            add_frame(&messages, &messages_size, 1, line, size);
            size = 0;
        } else {
            break;
        }
    }
    free(line);
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: load HOST PORT PACE SLEEPERS READY [SLEEPER_BUFFER [HEADERS]]\n");
        return 2;
    }
    host = argv[1];
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        die("address");
    pace = atoi(argv[3]);
    sleepers = atoi(argv[4]);
    ready_text = argv[5];
    sleeper_buffer = argc > 6 ? atoi(argv[6]) : 0;
    headers = argc > 7 ? argv[7] : "";
    read_messages();
    epoll_fd = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.u32 = UINT32_MAX}, ready[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &input);
    for (;;) {
        while (client_count < opened_wanted && connecting < pace)
            open_one();
        if (opening && ready_count + closed_count >= opened_wanted) {
            opening = 0;
            report();
        }
        int n = epoll_wait(epoll_fd, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.u32 == UINT32_MAX)
                read_commands();
            else if (!clients[ready[i].data.u32].closed)
                on_readable(&clients[ready[i].data.u32]);
        }
    }
}
