/* A host on a POSIX machine: cc -std=c99 example.c bitting_host.c bitting_units.c -o host
 *
 *     ./host PORT PACKETS [INPUTS [floats]]
 *
 * PORT is the serial port of a board, PACKETS what `bitting packets` wrote. INPUTS holds a signed byte for every input, sample
 * after sample; or, with `floats`, a float in the user's units. A line of answers is printed for each, in the same units.
 * Without INPUTS only the self-test is asked.
 */
#define _DEFAULT_SOURCE 1 /* cfmakeraw, usleep, 1 000 000 baud */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "bitting_units.h"

enum { PATIENCE = 100000 }; /* empty reads in a row, a tenth of a millisecond each from the hundredth on: ten seconds */

struct port {
    int fd;
    unsigned empty;
};

static int port_write(void *context, uint8_t byte)
{
    ssize_t done = write(((struct port *)context)->fd, &byte, 1);
    return done == 1 ? 1 : errno == EAGAIN ? 0 : -1;
}

static int port_read(void *context, uint8_t *byte)
{
    struct port *port = (struct port *)context;
    ssize_t came = read(port->fd, byte, 1);
    if (came == 1) {
        port->empty = 0;
        return 1;
    }
    if (came < 0 && errno != EAGAIN)
        return -1;
    if (++port->empty > 100)
        usleep(100);
    return 0;
}

static int port_open(const char *name)
{
    struct termios line;
    int fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || tcgetattr(fd, &line))
        return -1;
    cfmakeraw(&line);
    cfsetspeed(&line, B1000000);
    return tcsetattr(fd, TCSANOW, &line) ? -1 : fd;
}

/* A file as it would lie in flash. */
static const void *mapped(const char *name, size_t *bytes)
{
    struct stat facts;
    int fd = open(name, O_RDONLY);
    const void *data = NULL;
    if (fd >= 0 && !fstat(fd, &facts) && facts.st_size > 0) {
        *bytes = (size_t)facts.st_size;
        data = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        data = data == MAP_FAILED ? NULL : data;
    }
    if (!data)
        fprintf(stderr, "can not read %s\n", name);
    return data;
}

static void *room(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    if (!memory)
        exit(2);
    return memory;
}

/* How many samples a file of inputs has; a file of another size is no file of inputs. */
static size_t in_samples(size_t bytes, size_t sample)
{
    if (bytes % sample) {
        fprintf(stderr, "the file of inputs has %lu bytes, which is no multiple of a sample's %lu\n", (unsigned long)bytes,
                (unsigned long)sample);
        exit(2);
    }
    return bytes / sample;
}

static int run_floats(struct bitting_host *host, const char *name)
{
    size_t bytes = 0, sample, samples;
    const float *inputs = (const float *)mapped(name, &bytes);
    int8_t *activations = (int8_t *)room((size_t)host->lanes * host->input_words, 1);
    int32_t *answers = (int32_t *)room((size_t)host->lanes * host->outputs, sizeof *answers);
    float *values = (float *)room((size_t)host->lanes * host->outputs, sizeof *values);
    uint32_t index;
    int status = BITTING_OK;
    if (!inputs)
        exit(2);
    samples = in_samples(bytes, host->input_words * sizeof *inputs);
    for (sample = 0; sample < samples && !status; sample += host->lanes) {
        uint32_t batch = samples - sample < host->lanes ? (uint32_t)(samples - sample) : host->lanes;
        status = bitting_activations(host, inputs + sample * host->input_words, batch, activations);
        if (!status)
            status = bitting_run(host, activations, batch, answers);
        if (!status)
            bitting_values(host, answers, batch, values);
        for (index = 0; index < batch * host->outputs && !status; ++index)
            printf("%.9g%c", (double)values[index], (index + 1) % host->outputs ? ' ' : '\n');
    }
    free(activations);
    free(answers);
    free(values);
    return status;
}

static int run_all(struct bitting_host *host, const char *name)
{
    size_t bytes = 0, sample, samples;
    const int8_t *inputs = (const int8_t *)mapped(name, &bytes);
    int32_t *answers = (int32_t *)room((size_t)host->lanes * host->outputs, sizeof *answers);
    uint32_t index;
    int status = BITTING_OK;
    if (!inputs)
        exit(2);
    samples = in_samples(bytes, host->input_words);
    for (sample = 0; sample < samples && !status; sample += host->lanes) {
        uint32_t batch = samples - sample < host->lanes ? (uint32_t)(samples - sample) : host->lanes;
        status = bitting_run(host, inputs + sample * host->input_words, batch, answers);
        for (index = 0; index < batch * host->outputs && !status; ++index)
            printf("%ld%c", (long)answers[index], (index + 1) % host->outputs ? ' ' : '\n');
    }
    free(answers);
    return status;
}

int main(int count, char **arguments)
{
    struct port port = {-1, 0};
    struct bitting_serial serial;
    struct bitting_link link;
    struct bitting_host host;
    const uint8_t *file;
    size_t bytes = 0;
    int status;
    if (count < 3 || count > 5 || (count == 5 && strcmp(arguments[4], "floats"))) {
        fprintf(stderr, "usage: %s PORT PACKETS [INPUTS [floats]]\n", arguments[0]);
        return 2;
    }
    file = (const uint8_t *)mapped(arguments[2], &bytes);
    if (!file)
        return 2;
    port.fd = port_open(arguments[1]);
    if (port.fd < 0) {
        fprintf(stderr, "can not open %s: %s\n", arguments[1], strerror(errno));
        return 2;
    }
    serial.write = port_write;
    serial.read = port_read;
    serial.context = &port;
    bitting_serial_link(&serial, &link, PATIENCE);
    status = bitting_open(&host, file, bytes, &link);
    if (!status)
        status = bitting_start(&host);
    if (!status)
        status = bitting_self_test(&host);
    if (status == BITTING_NO_SELF_TEST) {
        fprintf(stderr, "%s\n", bitting_message(&host, status));
        status = BITTING_OK;
    }
    if (!status && count >= 4)
        status = count == 5 ? run_floats(&host, arguments[3]) : run_all(&host, arguments[3]);
    if (status)
        fprintf(stderr, "%s\n", bitting_message(&host, status));
    return status ? 1 : 0;
}
