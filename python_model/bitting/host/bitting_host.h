/* A host for an engine of bitting: sends what a packet file says (`bitting packets`), and gives what the device answers.
 *
 * C99, also C++, for an `int` of 32 bits and either byte order. It allocates nothing, uses no floating point and nothing of
 * the C library, and holds no secret. Inputs and answers are integers; bitting_units.h has the user's units. The packet file
 * is read where it lies, byte by byte: it may be in flash. docs/format.md describes it, and docs/boards.md has an example.
 *
 *     struct bitting_host host;
 *     int status = bitting_open(&host, file, bytes, &link);      the file is whole, and of this version
 *     if (!status) status = bitting_start(&host);                reset, family, challenge
 *     if (!status) status = bitting_self_test(&host);            this is the device that the file is for
 *     if (!status) status = bitting_run(&host, inputs, samples, answers);                     as often as you like
 *     if (status) puts(bitting_message(&host, status));          then begin again with bitting_start
 */
#ifndef BITTING_HOST_H
#define BITTING_HOST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a call ends with. */
enum bitting_status {
    BITTING_OK = 0,
    BITTING_BAD_FILE,     /* no packet file, of another version, truncated or changed */
    BITTING_BAD_CALL,     /* not started, or too many samples, or an input that is out of range */
    BITTING_LINK,         /* a callback said that the link failed */
    BITTING_SILENT,       /* the device neither takes nor gives anything */
    BITTING_BAD_ANSWER,   /* what came is no answer, or its checksum is wrong */
    BITTING_FAMILY,       /* the device is of another family */
    BITTING_FAULT,        /* the device reported an error: host.fault */
    BITTING_REFUSED,      /* the same, and the error is BAD_TAG: sealed for another device, or changed */
    BITTING_OTHER_DEVICE, /* answers to the self-test are wrong: host.wrong of them */
    BITTING_NO_SELF_TEST, /* the file has none */
    BITTING_NO_ROOT       /* the device has a PUF, and could not make its root secret: another chip, or a changed file */
};

/* Words to the device and from it, for example the two FIFOs of an AXI stream, or `bitting_serial_link` below. A callback that
 * can not do it now returns 0, and is called again; one that waits is as good. */
struct bitting_link {
    int (*reset)(void *context);                   /* resets the engine, and forgets words under way; 0, or negative: failed */
    int (*write)(void *context, uint32_t word);    /* 1: taken; 0: not now; negative: failed */
    int (*read)(void *context, uint32_t *word);    /* 1: a word; 0: none now; negative: failed */
    void *context;
    uint32_t patience; /* how many calls in a row may do nothing before the device counts as silent; 0: no limit */
};

/* All that is kept. Fields may be read; those below the line are not for you. */
struct bitting_host {
    uint32_t lanes;       /* samples that are computed at once */
    uint32_t input_words; /* inputs of a sample */
    uint32_t outputs;     /* answers to a sample */
    int32_t input_least, input_most;
    uint32_t questions;   /* of the self-test */
    uint32_t fault;       /* error that the device reported, or 0 */
    uint32_t fault_tiles; /* tiles it had run, modulo 2^24 */
    uint32_t wrong;       /* answers to the self-test that were wrong */
    uint32_t attempts;    /* of a device with a PUF to make its root secret, in the last start */
    /* ---- */
    const uint8_t *file;
    const struct bitting_link *link;
    uint32_t family, act_bits, input_base, results, width; /* width: lanes of the device */
    uint32_t bands, channels, rows, columns;               /* lanes that share a sample, and its picture; else 1, 1, 1, inputs */
    uint32_t once, again, head, body, asked, answers; /* where each section begins, a word */
    uint32_t units;                                   /* likewise; 0: there is none */
    int state;
    uint32_t crc, at, length, kind;       /* of the packet that is being received: its CRC, words that came, payload, type */
    uint32_t expected, received, emitted; /* words that are due, words that came, and packets with answers among them */
    uint32_t due;                         /* type of the answers that are expected */
    uint32_t found, rooted, idle; /* the device's family; it has a root secret; calls in a row that did nothing */
    const int8_t *inputs;                 /* of the batch, or NULL: the questions from number `first` on */
    int32_t *out;
    uint32_t samples, first;
};

/* Check a packet file and look at it. `file` and `link` must stay as they are. */
int bitting_open(struct bitting_host *host, const uint8_t *file, size_t bytes, const struct bitting_link *link);

/* Reset the device; if it has a PUF, let it make its root secret, in a few attempts; check its family; send what comes once. */
int bitting_start(struct bitting_host *host);

/* Ask the questions of the file, in every lane. */
int bitting_self_test(struct bitting_host *host);

/* Run 1 .. lanes samples: inputs[sample * input_words + i] in, answers[sample * outputs + j] out. */
int bitting_run(struct bitting_host *host, const int8_t *inputs, uint32_t samples, int32_t *answers);

/* A sentence for people, and the name of a device's error (of 1 .. 8; else "unknown error"). */
const char *bitting_message(const struct bitting_host *host, int status);
const char *bitting_fault_name(uint32_t fault);

/* A board of `bitting board` on a serial line: 8N1, 1 000 000 baud. Give the two callbacks and their context, then make a link
 * of it. The callbacks return as those of a link do, for a byte. */
struct bitting_serial {
    int (*write)(void *context, uint8_t byte);
    int (*read)(void *context, uint8_t *byte);
    void *context;
    /* ---- */
    uint32_t patience, credit, word, have, count, next;
    uint8_t pending[8];
    uint8_t escaped, greeted;
};

void bitting_serial_link(struct bitting_serial *serial, struct bitting_link *link, uint32_t patience);

#ifdef __cplusplus
}
#endif

#endif
