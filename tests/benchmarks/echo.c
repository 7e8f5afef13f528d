/*
 * A WebSocket echo server, made to cost much less than what stands in front of it: one thread, one epoll set. Every data
 * frame goes back unmasked. `GET /counts` is answered with the connections and the frames so far, that question included.
 *
 *   echo PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER 131072
#define EVENTS_AT_ONCE 256
#define MAGIC "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct connection {
    int fd;
    bool open;
    size_t length;
    char in[BUFFER + 1];
};

static unsigned long connections, frames;

static void end(struct connection *c)
{
    close(c->fd);
    free(c);
}

/* Nothing is ever queued: the client waits for each answer, which fits into the buffer of the socket. */
static bool send_all(struct connection *c, const char *data, size_t size)
{
    return send(c->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool shake_hands(struct connection *c, const char *key)
{
    char text[128], encoded[64], answer[512];
    unsigned char digest[SHA_DIGEST_LENGTH];
    size_t length = strcspn(key, "\r");
    if (length > 64)
        return false;
    int size = snprintf(text, sizeof text, "%.*s" MAGIC, (int)length, key);
    SHA1((unsigned char *)text, (size_t)size, digest);
    EVP_EncodeBlock((unsigned char *)encoded, digest, sizeof digest);
    size = snprintf(answer, sizeof answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", encoded);
    c->open = true;
    return send_all(c, answer, (size_t)size);
}

/* Answers one request; false ends the connection. */
static bool answer_head(struct connection *c, size_t size)
{
    char counts[64], answer[256];
    c->in[size - 1] = 0;
    const char *key = strcasestr(c->in, "\r\nsec-websocket-key:");
    if (key) {
        key += 20;
        return shake_hands(c, key + strspn(key, " "));
    }
    int length = snprintf(counts, sizeof counts, "%lu %lu", connections, frames);
    length = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", length,
                      counts);
    send_all(c, answer, (size_t)length);
    return false;
}

/* Echoes the frame at `frame`; the bytes that it took, 0 if it is not complete, -1 for the end. */
static long echo_frame(struct connection *c, unsigned char *frame, size_t size)
{
    size_t start = 2, length;
    if (size < 2)
        return 0;
    length = frame[1] & 127;
    if (length == 126) {
        if (size < 4)
            return 0;
        length = (size_t)frame[2] << 8 | frame[3];
        start = 4;
    }
    if (!(frame[1] & 128) || length == 127 || (frame[0] & 15) == 8)
        return -1;
    if (size < start + 4 + length)
        return 0;
    unsigned char *mask = frame + start, *payload = frame + start + 4;
    for (size_t i = 0; i < length; i++)
        payload[i] ^= mask[i & 3];
    /* The header moves over the mask, so that one call sends all of it. */
    unsigned char head[4] = {frame[0], frame[1] & 127, frame[2], frame[3]};
    memcpy(payload - start, head, start);
    frames++;
    return send_all(c, (char *)payload - start, start + length) ? (long)(start + 4 + length) : -1;
}

static bool readable(struct connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->length, BUFFER - c->length, 0);
    if (got <= 0)
        return false;
    c->length += (size_t)got;
    size_t done = 0;
    if (!c->open) {
        char *mark = memmem(c->in, c->length, "\r\n\r\n", 4);
        if (!mark)
            return c->length < BUFFER;
        done = (size_t)(mark - c->in) + 4;
        if (!answer_head(c, done))
            return false;
    }
    long taken;
    while ((taken = echo_frame(c, (unsigned char *)c->in + done, c->length - done)) > 0)
        done += (size_t)taken;
    memmove(c->in, c->in + done, c->length - done);
    c->length -= done;
    return taken == 0 && c->length < BUFFER;
}

int main(int argc, char **argv)
{
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0))};
    struct epoll_event events[EVENTS_AT_ONCE], event = {.events = EPOLLIN, .data.ptr = NULL};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("echo");
        return 2;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_AT_ONCE, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c) {
                if (!readable(c))
                    end(c);
                continue;
            }
            int fd = accept(listener, NULL, NULL);
            c = fd < 0 ? NULL : malloc(sizeof *c);
            if (!c)
                continue;
            c->fd = fd;
            c->open = false;
            c->length = 0;
            connections++;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            event.data.ptr = c;
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
    }
}
