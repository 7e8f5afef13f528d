/*
 * A closed-loop HTTP/1.1 load client for proxies: one thread, one epoll set, a fixed number of connections, each with one
 * request in flight. It is made to cost much less than what it measures, and to notice every answer that is not the
 * expected one.
 *
 *   pload -p 127.0.0.1:8080 -m connect -s -a localhost:8443 -u /1k -c 64 -d 5
 *
 *   -p HOST:PORT   where to connect (an IPv4 address)
 *   -m MODE        origin: ask directly; absolute: absolute-form request to a proxy; connect: CONNECT tunnel first
 *   -s             TLS, inside the tunnel or directly; certificates are not verified
 *   -a AUTHORITY   host:port to ask for; "%d" in it becomes the number of the host name
 *   -n COUNT       how many host names, numbered from 1
 *   -u PATH        path of the request
 *   -H FIELD       one more request field, "name: value"; may be repeated
 *   -b BYTES       length that every response body must have
 *   -W BYTES       open a WebSocket, and send texts of that length, each of which must come back as it is
 *   -E NAME        field that every response must have
 *   -c COUNT       connections
 *   -w SECONDS     warm-up, not measured
 *   -d SECONDS     measured time
 *   -1             one request per connection
 *
 * It writes "start" when the measured time begins, "stop" when it ends, then one JSON object. "total", "errors" and "bad"
 * count from the very beginning, warm-up included; all else is of the measured time. "starved" is the number of
 * connections that completed nothing in it. The run ends early on many errors.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 16384
#define READ_SIZE 65536
#define EVENTS_AT_ONCE 256
#define ERRORS_MAX 100
#define SOURCE_ADDRESSES 64

enum mode { MODE_ORIGIN, MODE_ABSOLUTE, MODE_CONNECT };
enum phase { CONNECTING, TUNNELLING, HANDSHAKING, EXCHANGING, UPGRADING, TALKING };
enum part { HEAD, COUNTED_BODY, CHUNK_SIZE, CHUNK_DATA, TRAILER };
enum progress { MORE, COMPLETE, BROKEN };
enum { AGAIN = -1, BROKEN_PIPE = -2 };

struct text {
    char *bytes;
    size_t length;
};

struct target {
    char *host;
    struct text request;
    struct text connect;
};

struct connection {
    int fd;
    SSL *tls;
    uint32_t interest;
    enum phase phase;
    const struct target *target;
    const struct text *out;
    size_t sent;
    uint64_t began;
    uint64_t completed; /* exchanges in the measured time */
    /* What is known of the response that is being read. */
    enum part part;
    char head[HEAD_MAX];
    size_t head_length;
    int64_t remaining;
    int64_t body_length;
    bool last;
};

static struct {
    struct sockaddr_in address;
    enum mode mode;
    bool tls, once;
    const char *authority, *path, *expected_field;
    char fields[4096];
    int hosts, connections;
    int64_t expected_length;
    int message; /* the length of the texts of a WebSocket, -1 without one */
    double warm_up, duration;
} options = {.mode = MODE_ORIGIN, .authority = "localhost", .path = "/", .hosts = 1, .connections = 64,
             .expected_length = -1, .message = -1, .warm_up = 1, .duration = 5};

static struct {
    bool measuring;
    uint64_t total, bytes, errors, bad;
    double cpu_before;
    int bad_status;
    const char *first_error;
    uint32_t *latencies; /* in microseconds, one for each measured exchange */
    size_t count, capacity;
} results;

static int epoll_fd;
static SSL_CTX *tls_context;
static struct target *targets;
static struct text message, echoed; /* a frame, and the frame that must come back */
static char scratch[READ_SIZE];

static void begin(struct connection *c);

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "pload: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void usage(const char *what)
{
    fprintf(stderr, "pload: %s\n", what);
    exit(2);
}

/* ---- counting ---- */

static void count_error(const char *what)
{
    results.errors++;
    if (!results.first_error)
        results.first_error = what;
}

static void count_bad(int status, const char *what)
{
    results.bad++;
    if (status)
        results.bad_status = status;
    if (!results.first_error)
        results.first_error = what;
}

static void sample(struct connection *c)
{
    results.total++;
    if (!results.measuring)
        return;
    c->completed++;
    if (results.count == results.capacity) {
        results.capacity = results.capacity ? results.capacity * 2 : 65536;
        results.latencies = realloc(results.latencies, results.capacity * sizeof *results.latencies);
        if (!results.latencies)
            die("memory");
    }
    uint64_t elapsed = (now() - c->began) / 1000;
    results.latencies[results.count++] = elapsed > UINT32_MAX ? UINT32_MAX : (uint32_t)elapsed;
}

/* ---- transport ---- */

static void watch(struct connection *c, uint32_t interest)
{
    if (c->interest == interest)
        return;
    struct epoll_event event = {.events = interest, .data.ptr = c};
    if (epoll_ctl(epoll_fd, c->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl");
    c->interest = interest;
}

static void hang_up(struct connection *c)
{
    if (c->tls) {
        if (c->phase == EXCHANGING)
            SSL_shutdown(c->tls);
        ERR_clear_error();
        SSL_free(c->tls);
        c->tls = NULL;
    }
    close(c->fd);
    c->interest = 0;
}

static void fail(struct connection *c, const char *what)
{
    count_error(what);
    hang_up(c);
    if (results.errors < ERRORS_MAX)
        begin(c);
}

/* Sockets in TIME_WAIT hold their address and port, so new connections in their thousands come from many loopback addresses. */
static void bind_source(int fd)
{
    static unsigned turn;
    int on = 1;
    if (ntohl(options.address.sin_addr.s_addr) >> 24 != 127)
        return;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl((127u << 24) | (9u << 8) | (1 + turn++ % SOURCE_ADDRESSES));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&source, sizeof source) < 0)
        die("bind");
}

static void begin(struct connection *c)
{
    static unsigned turn;
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.once)
        bind_source(c->fd);
    c->phase = CONNECTING;
    c->target = &targets[turn++ % (unsigned)options.hosts];
    c->out = NULL;
    c->began = now();
    if (connect(c->fd, (struct sockaddr *)&options.address, sizeof options.address) < 0 && errno != EINPROGRESS)
        die("connect");
    watch(c, EPOLLOUT);
}

/* What a TLS call wants next, or a broken pipe. */
static int tls_wants(struct connection *c, int returned)
{
    switch (SSL_get_error(c->tls, returned)) {
    case SSL_ERROR_WANT_READ:
        watch(c, EPOLLIN);
        return AGAIN;
    case SSL_ERROR_WANT_WRITE:
        watch(c, EPOLLOUT);
        return AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        ERR_clear_error();
        return BROKEN_PIPE;
    }
}

static int receive(struct connection *c)
{
    if (c->tls) {
        int got = SSL_read(c->tls, scratch, sizeof scratch);
        return got > 0 ? got : tls_wants(c, got);
    }
    ssize_t got = recv(c->fd, scratch, sizeof scratch, 0);
    if (got >= 0)
        return (int)got;
    return errno == EAGAIN ? AGAIN : BROKEN_PIPE;
}

static int flush(struct connection *c)
{
    while (c->sent < c->out->length) {
        const char *rest = c->out->bytes + c->sent;
        size_t length = c->out->length - c->sent;
        int wrote;
        if (c->tls) {
            wrote = SSL_write(c->tls, rest, (int)length);
            if (wrote <= 0)
                return tls_wants(c, wrote);
        } else {
            wrote = (int)send(c->fd, rest, length, MSG_NOSIGNAL);
            if (wrote < 0 && errno == EAGAIN) {
                watch(c, EPOLLOUT);
                return AGAIN;
            }
            if (wrote < 0)
                return BROKEN_PIPE;
        }
        c->sent += (size_t)wrote;
    }
    watch(c, EPOLLIN);
    return 1;
}

static void transmit(struct connection *c, const struct text *what)
{
    c->out = what;
    c->sent = 0;
    c->part = HEAD;
    c->head_length = 0;
    if (flush(c) == BROKEN_PIPE)
        fail(c, "the connection broke while a request was sent");
}

static void talk(struct connection *c)
{
    c->phase = TALKING;
    c->began = now();
    transmit(c, &message);
}

static void ask(struct connection *c)
{
    c->phase = options.message < 0 ? EXCHANGING : UPGRADING;
    if (!options.once)
        c->began = now();
    transmit(c, &c->target->request);
}

/* ---- responses ---- */

static const char *field(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, length) && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " \t");
    }
    return NULL;
}

static bool field_has(const char *head, const char *name, const char *word)
{
    char value[128] = "";
    const char *found = field(head, name);
    if (!found)
        return false;
    size_t length = strcspn(found, "\r");
    memcpy(value, found, length < sizeof value ? length : sizeof value - 1);
    return strcasestr(value, word) != NULL;
}

static enum progress complete_body(struct connection *c)
{
    if (options.expected_length >= 0 && c->body_length != options.expected_length)
        count_bad(0, "a response body has the wrong length");
    return COMPLETE;
}

static enum progress begin_body(struct connection *c)
{
    int status = strncmp(c->head, "HTTP/1.", 7) ? 0 : atoi(c->head + 9);
    const char *length = field(c->head, "content-length");
    if (status != 200)
        count_bad(status, c->phase == TUNNELLING ? "CONNECT was refused" : "a response is not 200");
    if (c->phase == TUNNELLING)
        return status == 200 ? COMPLETE : BROKEN;
    if (options.expected_field && !field(c->head, options.expected_field))
        count_bad(status, "a response lacks the expected field");
    c->last = field_has(c->head, "connection", "close") || field_has(c->head, "proxy-connection", "close");
    c->body_length = 0;
    c->head_length = 0;
    if (field_has(c->head, "transfer-encoding", "chunked")) {
        c->part = CHUNK_SIZE;
    } else if (length) {
        c->remaining = atoll(length);
        c->part = COUNTED_BODY;
        if (c->remaining == 0)
            return complete_body(c);
    } else {
        return BROKEN;
    }
    return MORE;
}

/* Takes bytes up to and including the end mark into the head buffer; 0 is returned while the mark has not come. */
static size_t collect(struct connection *c, const char *data, size_t size, const char *mark, bool *found)
{
    size_t before = c->head_length, room = sizeof c->head - 1 - before, taken = size < room ? size : room;
    size_t width = strlen(mark), from = before >= width - 1 ? before - (width - 1) : 0;
    memcpy(c->head + before, data, taken);
    c->head_length += taken;
    char *end = memmem(c->head + from, c->head_length - from, mark, width);
    *found = end != NULL;
    if (end) {
        taken = (size_t)(end + width - c->head) - before;
        c->head_length = before + taken;
    }
    c->head[c->head_length] = 0;
    return taken;
}

static enum progress end_line(struct connection *c)
{
    if (c->part == TRAILER) {
        bool empty = c->head_length == 2;
        c->head_length = 0;
        return empty ? complete_body(c) : MORE;
    }
    c->remaining = strtoll(c->head, NULL, 16);
    c->head_length = 0;
    c->part = c->remaining ? CHUNK_DATA : TRAILER;
    c->body_length += c->remaining;
    c->remaining += 2; /* The line end after the data of a chunk. */
    return MORE;
}

static size_t skip(struct connection *c, size_t size)
{
    size_t taken = (int64_t)size < c->remaining ? size : (size_t)c->remaining;
    c->remaining -= (int64_t)taken;
    if (results.measuring)
        results.bytes += taken;
    return taken;
}

static enum progress upgraded(struct connection *c)
{
    int status = strncmp(c->head, "HTTP/1.", 7) ? 0 : atoi(c->head + 9);
    if (status != 101)
        count_bad(status, "the WebSocket was refused");
    return status == 101 ? COMPLETE : BROKEN;
}

/* Feeds bytes to the frame that must come back. */
static enum progress hear(struct connection *c, const char *data, size_t size)
{
    size_t left = echoed.length - c->head_length;
    if (size > left || memcmp(data, echoed.bytes + c->head_length, size)) {
        count_bad(0, "another message came back");
        return BROKEN;
    }
    c->head_length += size;
    if (results.measuring)
        results.bytes += size;
    return size == left ? COMPLETE : MORE;
}

/* Feeds bytes to the response that is being read. */
static enum progress feed(struct connection *c, const char *data, size_t size)
{
    enum progress progress = MORE;
    if (c->phase == TALKING)
        return hear(c, data, size);
    while (size > 0 && progress == MORE) {
        size_t taken;
        bool found;
        switch (c->part) {
        case HEAD:
            taken = collect(c, data, size, "\r\n\r\n", &found);
            if (found)
                progress = c->phase == UPGRADING ? upgraded(c) : begin_body(c);
            break;
        case COUNTED_BODY:
            taken = skip(c, size);
            c->body_length += (int64_t)taken;
            if (c->remaining == 0)
                progress = complete_body(c);
            break;
        case CHUNK_DATA:
            taken = skip(c, size);
            if (c->remaining == 0)
                c->part = CHUNK_SIZE;
            break;
        default:
            taken = collect(c, data, size, "\r\n", &found);
            if (found)
                progress = end_line(c);
            break;
        }
        if (taken == 0)
            return BROKEN;
        data += taken;
        size -= taken;
    }
    return size > 0 ? BROKEN : progress;
}

/* ---- events ---- */

static void handshake(struct connection *c)
{
    int returned = SSL_connect(c->tls);
    if (returned == 1)
        ask(c);
    else if (tls_wants(c, returned) != AGAIN)
        fail(c, "the TLS handshake failed");
}

static void begin_tls(struct connection *c)
{
    struct in_addr literal;
    c->tls = SSL_new(tls_context);
    c->phase = HANDSHAKING;
    SSL_set_fd(c->tls, c->fd);
    if (!inet_aton(c->target->host, &literal))
        SSL_set_tlsext_host_name(c->tls, c->target->host);
    handshake(c);
}

static void connected(struct connection *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        fail(c, "could not connect");
    } else if (options.mode == MODE_CONNECT) {
        c->phase = TUNNELLING;
        transmit(c, &c->target->connect);
    } else if (options.tls) {
        begin_tls(c);
    } else {
        ask(c);
    }
}

static void completed(struct connection *c)
{
    if (c->phase == TUNNELLING) {
        if (options.tls)
            begin_tls(c);
        else
            ask(c);
        return;
    }
    if (c->phase == UPGRADING) {
        talk(c);
        return;
    }
    sample(c);
    if (c->phase == TALKING) {
        talk(c);
        return;
    }
    if (options.once || c->last) {
        hang_up(c);
        begin(c);
    } else {
        ask(c);
    }
}

static void readable(struct connection *c)
{
    for (;;) {
        int got = receive(c);
        if (got == AGAIN)
            return;
        if (got <= 0) {
            fail(c, got == 0 ? "the connection was closed before the response was complete" : "the connection broke");
            return;
        }
        switch (feed(c, scratch, (size_t)got)) {
        case COMPLETE:
            completed(c);
            return;
        case BROKEN:
            fail(c, "a response could not be read");
            return;
        case MORE:
            break;
        }
    }
}

static void ready(struct connection *c)
{
    if (c->phase == CONNECTING) {
        connected(c);
    } else if (c->phase == HANDSHAKING) {
        handshake(c);
    } else if (c->sent < c->out->length) {
        if (flush(c) == BROKEN_PIPE)
            fail(c, "the connection broke while a request was sent");
    } else {
        readable(c);
    }
}

/* ---- set-up, run, result ---- */

static struct text printed(const char *format, ...)
{
    struct text result;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&result.bytes, format, arguments);
    va_end(arguments);
    if (length < 0)
        die("memory");
    result.length = (size_t)length;
    return result;
}

/* The authority with its "%d", if it has one, replaced. */
static char *numbered(const char *authority, int number)
{
    const char *mark = strstr(authority, "%d");
    if (!mark)
        return printed("%s", authority).bytes;
    return printed("%.*s%d%s", (int)(mark - authority), authority, number, mark + 2).bytes;
}

static void make_targets(void)
{
    targets = calloc((size_t)options.hosts, sizeof *targets);
    for (int i = 0; i < options.hosts; i++) {
        char *authority = numbered(options.authority, i + 1);
        bool absolute = options.mode == MODE_ABSOLUTE;
        targets[i].host = printed("%.*s", (int)strcspn(authority, ":"), authority).bytes;
        targets[i].connect = printed("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority);
        targets[i].request = printed("GET %s%s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: pload/1\r\nAccept: */*\r\n"
                                     "Accept-Encoding: identity\r\n%s\r\n",
                                     absolute ? "http://" : "", absolute ? authority : "", options.path, authority,
                                     options.fields);
        free(authority);
    }
}

static void add_field(const char *text)
{
    size_t used = strlen(options.fields);
    if (used + strlen(text) + 3 > sizeof options.fields)
        usage("too many -H");
    sprintf(options.fields + used, "%s\r\n", text);
}

static void make_message(void)
{
    static const unsigned char mask[4] = {0x3a, 0x91, 0x07, 0xe4};
    size_t length = (size_t)options.message, start = length < 126 ? 2 : 4;
    message.length = start + 4 + length;
    echoed.length = start + length;
    message.bytes = calloc(1, message.length);
    echoed.bytes = calloc(1, echoed.length);
    if (!message.bytes || !echoed.bytes)
        die("memory");
    for (char *frame = message.bytes;; frame = echoed.bytes) {
        frame[0] = (char)0x81;
        frame[1] = (char)(length < 126 ? length : 126);
        if (start == 4) {
            frame[2] = (char)(length >> 8);
            frame[3] = (char)length;
        }
        if (frame == echoed.bytes)
            break;
        frame[1] = (char)(frame[1] | 0x80);
    }
    memcpy(message.bytes + start, mask, 4);
    memset(echoed.bytes + start, 'x', length);
    for (size_t i = 0; i < length; i++)
        message.bytes[start + 4 + i] = (char)('x' ^ mask[i & 3]);
    add_field("Connection: Upgrade");
    add_field("Upgrade: websocket");
    add_field("Sec-WebSocket-Version: 13");
    add_field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
}

static void parse_address(char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon)
        usage("-p needs ADDRESS:PORT");
    *colon = 0;
    options.address.sin_family = AF_INET;
    options.address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (!inet_aton(text, &options.address.sin_addr))
        usage("-p needs an IPv4 address");
}

static enum mode parse_mode(const char *text)
{
    if (!strcmp(text, "origin"))
        return MODE_ORIGIN;
    if (!strcmp(text, "absolute"))
        return MODE_ABSOLUTE;
    if (!strcmp(text, "connect"))
        return MODE_CONNECT;
    usage("-m is origin, absolute or connect");
    return MODE_ORIGIN;
}

static void parse_options(int argc, char **argv)
{
    int letter;
    while ((letter = getopt(argc, argv, "p:m:sa:n:u:H:b:E:W:c:w:d:1")) > 0) {
        switch (letter) {
        case 'p': parse_address(optarg); break;
        case 'm': options.mode = parse_mode(optarg); break;
        case 's': options.tls = true; break;
        case 'a': options.authority = optarg; break;
        case 'n': options.hosts = atoi(optarg); break;
        case 'u': options.path = optarg; break;
        case 'H': add_field(optarg); break;
        case 'b': options.expected_length = atoll(optarg); break;
        case 'E': options.expected_field = optarg; break;
        case 'W': options.message = atoi(optarg); break;
        case 'c': options.connections = atoi(optarg); break;
        case 'w': options.warm_up = atof(optarg); break;
        case 'd': options.duration = atof(optarg); break;
        case '1': options.once = true; break;
        default: usage("unknown option; the list is at the top of pload.c");
        }
    }
    if (!options.address.sin_port || options.hosts < 1 || options.connections < 1 || options.message > 65535)
        usage("-p ADDRESS:PORT is missing, or a number is not possible");
}

static void make_tls_context(void)
{
    tls_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(tls_context, 1);
    SSL_CTX_set_default_read_buffer_len(tls_context, READ_SIZE);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void announce(const char *what)
{
    puts(what);
    fflush(stdout);
}

static double run(void)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    uint64_t measured_from = now() + (uint64_t)(options.warm_up * 1e9);
    uint64_t end = measured_from + (uint64_t)(options.duration * 1e9);
    for (;;) {
        uint64_t time = now();
        if (!results.measuring && time >= measured_from) {
            measured_from = time;
            results.measuring = true;
            results.cpu_before = cpu_seconds();
            announce("start");
        }
        if (time >= end || results.errors >= ERRORS_MAX) {
            announce("stop");
            return (double)(time - measured_from) / 1e9;
        }
        int count = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, 20);
        for (int i = 0; i < count; i++)
            ready(events[i].data.ptr);
    }
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static double percentile(double share)
{
    return results.count ? results.latencies[(size_t)((double)(results.count - 1) * share)] / 1000.0 : 0;
}

static void report(double elapsed, int starved)
{
    double cpu = cpu_seconds() - results.cpu_before;
    if (!results.measuring || elapsed <= 0)
        elapsed = options.duration;
    if (results.count)
        qsort(results.latencies, results.count, sizeof *results.latencies, by_size);
    double rate = (double)results.count / elapsed, megabytes = (double)results.bytes / elapsed / 1e6;
    printf("{\"total\": %lu, \"requests\": %zu, \"seconds\": %.4f, \"rps\": %.1f, \"mb_per_s\": %.2f, ", results.total,
           results.count, elapsed, rate, megabytes);
    printf("\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, ", percentile(0.5), percentile(0.99), percentile(1));
    printf("\"starved\": %d, ", starved);
    printf("\"errors\": %lu, \"bad\": %lu, \"bad_status\": %d, \"first_error\": \"%s\", \"client_cpu_s\": %.3f}\n",
           results.errors, results.bad, results.bad_status, results.first_error ? results.first_error : "", cpu);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    parse_options(argc, argv);
    if (options.message >= 0)
        make_message();
    make_targets();
    make_tls_context();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct connection *connections = calloc((size_t)options.connections, sizeof *connections);
    for (int i = 0; i < options.connections; i++)
        begin(&connections[i]);
    double elapsed = run();
    int starved = 0;
    for (int i = 0; i < options.connections; i++)
        starved += connections[i].completed == 0;
    report(elapsed, starved);
    return 0;
}
