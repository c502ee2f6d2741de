/* See bitting_host.h. The numbers are those of docs/format.md: packets in section 8, the serial line in 10, the file in 11. */
#include "bitting_host.h"

enum { NOT_OPEN, OPEN, STARTED, RAN };                                     /* host->state */
enum { ACTIVATIONS = 0x03, STATUS = 0x04, HELPER = 0x09 };                 /* commands */
enum { TILE_DONE = 0x82, STATUS_REPLY = 0x84, PUF_REPLY = 0x89, FAULT = 0xFF, BAD_TAG = 8 }; /* answers */
enum { STATUS_WORDS = 5, REPLY_WORDS = 2, MOST_ATTEMPTS = 3, FRAME_WORDS = 2, FIXED_WORDS = 2, HEADER_WORDS = 16, VERSION = 1, LONGEST = 0xFFFF };
enum { UNITS_WORDS = 5, SHARED_WORDS = 4, SHARED_VERSION = 2 }; /* a file for lanes that share samples says more */

static const uint32_t MAGIC = 0x4B505442u; /* "BTPK" */

/* CRC-32 of ISO-HDLC over a word's bytes, lowest first. It begins with all ones, and ends inverted. */
static uint32_t crc_of(uint32_t crc, uint32_t word)
{
    int bit;
    crc ^= word;
    for (bit = 0; bit < 32; ++bit)
        crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
    return crc;
}

static uint32_t word_at(const struct bitting_host *host, uint32_t index)
{
    const uint8_t *byte = host->file + (size_t)index * 4;
    return byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 | (uint32_t)byte[3] << 24;
}

/* Words of a question in the file: four inputs each. */
static uint32_t question_words(const struct bitting_host *host) { return (host->input_words + 3) / 4; }

/* ---- the packet file ---- */

/* The section before the CRC, of so many words; its numbers are looked at where they are used. */
static int units_are_sane(const struct bitting_host *host, uint32_t words)
{
    uint32_t length = word_at(host, 15), from = words - 1 - length, inputs, outputs, most = 1u << (host->act_bits - 1);
    if (length == 0)
        return 1;
    if (length < UNITS_WORDS || length > words - HEADER_WORDS - 1)
        return 0;
    inputs = word_at(host, from + 3);
    outputs = word_at(host, from + 4);
    return word_at(host, from) >= 128 - most && word_at(host, from) <= word_at(host, from + 1) &&
           word_at(host, from + 1) <= 127 + most && word_at(host, from + 2) <= 3 &&
           (inputs == 1 || inputs == host->input_words) && (outputs == 1 || outputs == host->outputs) &&
           length == UNITS_WORDS + 2 * (uint64_t)inputs + 2 * (uint64_t)outputs;
}

/* Input words of a lane. */
static uint32_t lane_words(const struct bitting_host *host) { return host->input_words / host->bands; }

/* Whose lanes share a picture; of another file nobody shares one. */
static int picture_is_sane(const struct bitting_host *host)
{
    uint64_t row = (uint64_t)host->channels * host->columns;
    return host->bands >= 1 && host->bands <= host->width && (host->bands & (host->bands - 1)) == 0 &&
           host->width % host->bands == 0 && host->rows >= 1 && host->rows % host->bands == 0 && host->channels >= 1 &&
           host->channels <= LONGEST && host->columns >= 1 && host->columns <= host->input_words &&
           host->rows <= host->input_words && row * host->rows == host->input_words;
}

static int header_is_sane(const struct bitting_host *host, uint32_t words)
{
    uint64_t sections = host->once + 1;
    uint32_t index;
    for (index = 10; index < 14; ++index)
        sections += word_at(host, index);
    sections += (uint64_t)host->questions * question_words(host);
    if (host->outputs == 0 || host->questions > 0xFFFFu || host->outputs > 0xFFFFFFu)
        return 0;
    sections += (uint64_t)host->questions * host->outputs + word_at(host, 15);
    return sections == words && units_are_sane(host, words) && host->width >= 4 &&
           host->width <= 256 && host->width % 4 == 0 && host->input_words >= 1 && picture_is_sane(host) &&
           host->input_base <= LONGEST && host->input_base + lane_words(host) <= LONGEST + 1 &&
           host->results >= (uint64_t)host->outputs * (host->lanes + 4) &&
           1 + (uint64_t)lane_words(host) * (host->width / 4) <= LONGEST;
}

int bitting_open(struct bitting_host *host, const uint8_t *file, size_t bytes, const struct bitting_link *link)
{
    uint32_t words = (uint32_t)(bytes / 4), index, crc = 0xFFFFFFFFu, shared;
    host->state = NOT_OPEN;
    host->file = file;
    host->link = link;
    host->fault = host->fault_tiles = host->wrong = 0;
    if (bytes % 4 || words != bytes / 4 || words <= HEADER_WORDS + SHARED_WORDS || word_at(host, 0) != MAGIC ||
        (word_at(host, 1) != VERSION && word_at(host, 1) != SHARED_VERSION) || word_at(host, 2) != words)
        return BITTING_BAD_FILE;
    shared = word_at(host, 1) == SHARED_VERSION;
    for (index = 0; index + 1 < words; ++index)
        crc = crc_of(crc, word_at(host, index));
    if (~crc != word_at(host, words - 1))
        return BITTING_BAD_FILE;
    host->family = word_at(host, 3);
    host->width = word_at(host, 4);
    host->act_bits = word_at(host, 5);
    host->input_base = word_at(host, 6);
    host->input_words = word_at(host, 7);
    host->outputs = word_at(host, 8);
    host->results = word_at(host, 9);
    host->questions = word_at(host, 14);
    host->bands = shared ? word_at(host, HEADER_WORDS) : 1;
    host->channels = shared ? word_at(host, HEADER_WORDS + 1) : 1;
    host->rows = shared ? word_at(host, HEADER_WORDS + 2) : 1;
    host->columns = shared ? word_at(host, HEADER_WORDS + 3) : host->input_words;
    host->once = HEADER_WORDS + shared * SHARED_WORDS;
    host->lanes = host->bands ? host->width / host->bands : 0;
    if (host->input_words > 0xFFFFFFu || host->act_bits < 2 || host->act_bits > 8 || !header_is_sane(host, words))
        return BITTING_BAD_FILE;
    host->input_most = (int32_t)(1u << (host->act_bits - 1)) - 1;
    host->input_least = -host->input_most - 1;
    host->again = host->once + word_at(host, 10);
    host->head = host->again + word_at(host, 11);
    host->body = host->head + word_at(host, 12);
    host->asked = host->body + word_at(host, 13);
    host->answers = host->asked + host->questions * question_words(host);
    host->units = word_at(host, 15) ? host->answers + host->questions * host->outputs : 0;
    host->state = OPEN;
    return BITTING_OK;
}

/* ---- what the device answers ---- */

static int begin_packet(struct bitting_host *host, uint32_t word)
{
    host->kind = word & 0xFFu;
    host->length = word >> 16;
    if (word & 0xFF00u)
        return BITTING_BAD_ANSWER;
    if (host->kind == FAULT)
        return host->length == 1 ? BITTING_OK : BITTING_BAD_ANSWER;
    if (host->kind != host->due || host->received + host->length + FRAME_WORDS > host->expected)
        return BITTING_BAD_ANSWER;
    if (host->due != TILE_DONE)
        return host->length == (host->due == STATUS_REPLY ? STATUS_WORDS : REPLY_WORDS) ? BITTING_OK : BITTING_BAD_ANSWER;
    if (host->length != FIXED_WORDS && (host->length != FIXED_WORDS + host->lanes || host->emitted >= host->outputs))
        return BITTING_BAD_ANSWER;
    return BITTING_OK;
}

static int32_t signed_of(uint32_t word) { return word <= 0x7FFFFFFFu ? (int32_t)word : -(int32_t)~word - 1; }

static void take_answer(struct bitting_host *host, uint32_t lane, uint32_t word)
{
    if (!host->inputs) {
        uint32_t question = host->first + lane % host->samples;
        host->wrong += word != word_at(host, host->answers + question * host->outputs + host->emitted);
    } else if (lane < host->samples) {
        host->out[(size_t)lane * host->outputs + host->emitted] = signed_of(word);
    }
}

static void take_payload(struct bitting_host *host, uint32_t index, uint32_t word)
{
    if (host->kind == FAULT) {
        host->fault = word & 0xFFu;
        host->fault_tiles = word >> 8;
    } else if (host->kind != TILE_DONE) {
        if (index == 0)
            host->found = word;
        else if (index == 1 && host->kind == PUF_REPLY)
            host->rooted = word & 1u;
    } else if (index >= FIXED_WORDS) {
        take_answer(host, index - FIXED_WORDS, word);
    }
}

static int end_packet(struct bitting_host *host, uint32_t word)
{
    if (~host->crc != word)
        return BITTING_BAD_ANSWER;
    if (host->kind == FAULT)
        return host->fault == BAD_TAG ? BITTING_REFUSED : BITTING_FAULT;
    host->emitted += host->kind == TILE_DONE && host->length > FIXED_WORDS;
    return BITTING_OK;
}

static int receive(struct bitting_host *host, uint32_t word)
{
    int status = BITTING_OK;
    if (host->at == 0) {
        status = begin_packet(host, word);
        host->crc = crc_of(0xFFFFFFFFu, word);
        host->at = 1;
    } else if (host->at <= host->length) {
        take_payload(host, host->at - 1, word);
        host->crc = crc_of(host->crc, word);
        ++host->at;
    } else {
        status = end_packet(host, word);
        host->at = 0;
    }
    ++host->received;
    return status;
}

/* A word from the device, if there is one. */
static int take(struct bitting_host *host)
{
    uint32_t word = 0;
    int came = host->link->read(host->link->context, &word);
    if (came < 0)
        return BITTING_LINK;
    if (came) {
        host->idle = 0;
        return receive(host, word);
    }
    ++host->idle;
    return host->link->patience && host->idle > host->link->patience ? BITTING_SILENT : BITTING_OK;
}

/* Everything that is due. */
static int take_all(struct bitting_host *host)
{
    int status = BITTING_OK;
    host->idle = 0;
    while (!status && (host->received < host->expected || host->at))
        status = take(host);
    return status;
}

/* ---- what is sent: between any two words answers are taken, for a device whose answers wait takes no commands ---- */

static int send_word(struct bitting_host *host, uint32_t word)
{
    int status = BITTING_OK, taken = 0;
    while (!taken && !status) {
        taken = host->link->write(host->link->context, word);
        if (taken < 0)
            return BITTING_LINK;
        if (taken)
            host->idle = 0;
        status = take(host);
    }
    return status;
}

static int send_section(struct bitting_host *host, uint32_t from, uint32_t to)
{
    int status = BITTING_OK;
    for (; from < to && !status; ++from)
        status = send_word(host, word_at(host, from));
    return status;
}

/* Word `at` of a lane. A lane that shares its sample has some of its rows, of all channels, rows outermost. */
static uint32_t input_of(const struct bitting_host *host, uint32_t lane, uint32_t at)
{
    uint32_t sample = lane / host->bands, row = at / host->columns / host->channels, question;
    uint32_t channel = at / host->columns % host->channels, index;
    row += lane % host->bands * (host->rows / host->bands);
    index = (channel * host->rows + row) * host->columns + at % host->columns;
    if (host->inputs)
        return sample < host->samples ? (uint8_t)host->inputs[(size_t)sample * host->input_words + index] : 0;
    question = host->first + sample % host->samples;
    return host->file[((size_t)host->asked + (size_t)question * question_words(host)) * 4 + index];
}

static int send_inputs(struct bitting_host *host)
{
    uint32_t payload = 1 + lane_words(host) * (host->width / 4), crc = 0xFFFFFFFFu, index, lane;
    uint32_t words[2];
    int status = BITTING_OK;
    words[0] = ACTIVATIONS | payload << 16;
    words[1] = host->input_base | lane_words(host) << 16;
    for (index = 0; index < 2 && !status; ++index) {
        crc = crc_of(crc, words[index]);
        status = send_word(host, words[index]);
    }
    for (index = 0; index < lane_words(host); ++index)
        for (lane = 0; lane < host->width && !status; lane += 4) {
            uint32_t word = input_of(host, lane, index) | input_of(host, lane + 1, index) << 8 |
                            input_of(host, lane + 2, index) << 16 | input_of(host, lane + 3, index) << 24;
            crc = crc_of(crc, word);
            status = send_word(host, word);
        }
    return status ? status : send_word(host, ~crc);
}

static int run_batch(struct bitting_host *host)
{
    int status = host->state == RAN ? send_section(host, host->again, host->head) : BITTING_OK;
    host->state = RAN;
    host->due = TILE_DONE;
    host->received = host->emitted = 0;
    host->expected = host->results;
    if (!status)
        status = send_section(host, host->head, host->body);
    if (!status)
        status = send_inputs(host);
    if (!status)
        status = send_section(host, host->body, host->asked);
    if (!status)
        status = take_all(host);
    if (!status && host->emitted != host->outputs)
        status = BITTING_BAD_ANSWER;
    if (status)
        host->state = OPEN; /* nothing but a reset helps */
    host->expected = host->received = 0;
    return status;
}

/* ---- the calls ---- */

/* Where the first packet ends of what is sent once, if that is helper data: a device with a PUF boots with them. */
static uint32_t helper_end(const struct bitting_host *host)
{
    uint32_t header = host->once < host->again ? word_at(host, host->once) : 0;
    uint64_t end = (uint64_t)host->once + (header >> 16) + FRAME_WORDS;
    return (header & 0xFFu) == HELPER && end <= host->again ? (uint32_t)end : host->once;
}

/* Every attempt measures anew, so another one may succeed. */
static int make_root(struct bitting_host *host, uint32_t end)
{
    int status = BITTING_OK;
    host->due = PUF_REPLY;
    for (host->rooted = host->attempts = 0; !status && !host->rooted && host->attempts < MOST_ATTEMPTS; ++host->attempts) {
        host->received = 0;
        host->expected = REPLY_WORDS + FRAME_WORDS;
        status = send_section(host, host->once, end);
        if (!status)
            status = take_all(host);
    }
    return status || host->rooted ? status : BITTING_NO_ROOT;
}

int bitting_start(struct bitting_host *host)
{
    uint32_t header = STATUS, end;
    int status = BITTING_OK;
    if (host->state == NOT_OPEN)
        return BITTING_BAD_CALL;
    host->state = OPEN;
    host->at = host->received = host->idle = host->fault = host->fault_tiles = host->attempts = 0;
    if (host->link->reset(host->link->context) < 0)
        return BITTING_LINK;
    end = helper_end(host);
    if (end != host->once)
        status = make_root(host, end);
    host->due = STATUS_REPLY;
    host->received = 0;
    host->expected = STATUS_WORDS + FRAME_WORDS;
    if (!status)
        status = send_word(host, header);
    if (!status)
        status = send_word(host, ~crc_of(0xFFFFFFFFu, header));
    if (!status)
        status = take_all(host);
    if (!status && host->found != host->family)
        status = BITTING_FAMILY;
    host->expected = host->received = 0;
    if (!status)
        status = send_section(host, end, host->again);
    if (!status)
        host->state = STARTED;
    return status;
}

int bitting_self_test(struct bitting_host *host)
{
    int status = BITTING_OK;
    if (host->state != STARTED && host->state != RAN)
        return BITTING_BAD_CALL;
    if (host->questions == 0)
        return BITTING_NO_SELF_TEST;
    host->inputs = NULL;
    host->wrong = 0;
    for (host->first = 0; host->first < host->questions && !status; host->first += host->lanes) {
        uint32_t left = host->questions - host->first;
        host->samples = left < host->lanes ? left : host->lanes;
        status = run_batch(host);
    }
    if (!status && host->wrong) {
        host->state = OPEN;
        status = BITTING_OTHER_DEVICE;
    }
    return status;
}

int bitting_run(struct bitting_host *host, const int8_t *inputs, uint32_t samples, int32_t *answers)
{
    size_t index;
    if ((host->state != STARTED && host->state != RAN) || !inputs || !answers || samples == 0 || samples > host->lanes)
        return BITTING_BAD_CALL;
    for (index = 0; index < (size_t)samples * host->input_words; ++index)
        if (inputs[index] < host->input_least || inputs[index] > host->input_most)
            return BITTING_BAD_CALL;
    host->inputs = inputs;
    host->samples = samples;
    host->out = answers;
    return run_batch(host);
}

#define REPORTED "the device reported "

static const char *const FAULTS[] = {
    REPORTED "unknown error", REPORTED "BAD_TYPE",  REPORTED "BAD_LENGTH", REPORTED "BAD_FIELD", REPORTED "BAD_ADDRESS",
    REPORTED "BAD_CRC",       REPORTED "BAD_ORDER", REPORTED "LOCKED",     REPORTED "BAD_TAG",
};

/* A flash player's, from PLAYER on. */
enum { PLAYER = 0x10 };

static const char *const PLAYER_FAULTS[] = {
    REPORTED "NO_IMAGE",  REPORTED "IMAGE_FAMILY",  REPORTED "IMAGE_LENGTH",
    REPORTED "IMAGE_CRC", REPORTED "IMAGE_PACKETS", REPORTED "HOST_PACKET",
};

static const char *const MESSAGES[] = {
    "no error",
    "this is no packet file of this version, or it was changed: write it again with `bitting packets`",
    "wrong call: start first; 1 to `lanes` samples; inputs in their range",
    "the link to the device failed, or nobody answers a reset",
    "the device neither takes nor gives anything",
    "the device answers what is no answer: is it an engine of this version, and does the link lose nothing?",
    "the device is of another family than the packet file",
    "",
    "the device reported BAD_TAG: it is not the one that the program is sealed for, or the program was changed",
    "this is not the device that the packet file is for: it answers the self-test wrongly",
    "the packet file has no self-test: lock with --self-test of 1 or more",
    "the device could not make its root secret: the packet file is of another chip, or was changed",
};

static const char *fault_message(uint32_t fault)
{
    if (fault >= PLAYER && fault - PLAYER < sizeof PLAYER_FAULTS / sizeof PLAYER_FAULTS[0])
        return PLAYER_FAULTS[fault - PLAYER];
    return FAULTS[fault < sizeof FAULTS / sizeof FAULTS[0] ? fault : 0];
}

const char *bitting_fault_name(uint32_t fault) { return fault_message(fault) + sizeof REPORTED - 1; }

const char *bitting_message(const struct bitting_host *host, int status)
{
    if (status == BITTING_FAULT)
        return fault_message(host->fault);
    return status >= 0 && status <= BITTING_NO_ROOT ? MESSAGES[status] : "unknown status";
}

/* ---- the serial line of a board ---- */

enum { ESCAPE = 0xDB, STUFFED = 0xDC, CREDIT = 0xDD, RESET = 0xDE, BUFFER_BYTES = 512, CREDIT_BYTES = 64 };

/* 1: nothing is left to be written; 0: something is; negative: the line failed. */
static int serial_flush(struct bitting_serial *serial)
{
    while (serial->next < serial->count) {
        int taken = serial->write(serial->context, serial->pending[serial->next]);
        if (taken <= 0)
            return taken;
        ++serial->next;
    }
    return 1;
}

static int serial_write(void *context, uint32_t word)
{
    struct bitting_serial *serial = (struct bitting_serial *)context;
    int flushed = serial_flush(serial), index;
    if (flushed <= 0)
        return flushed;
    if (serial->credit < 4)
        return 0;
    serial->credit -= 4;
    serial->count = serial->next = 0;
    for (index = 0; index < 4; ++index, word >>= 8) {
        serial->pending[serial->count++] = (uint8_t)(word & 0xFFu);
        if ((word & 0xFFu) == ESCAPE)
            serial->pending[serial->count++] = STUFFED;
    }
    return serial_flush(serial) < 0 ? -1 : 1;
}

/* A byte that came; 1 if it completes a word. */
static int serial_take(struct bitting_serial *serial, uint8_t byte)
{
    if (!serial->escaped && byte == ESCAPE) {
        serial->escaped = 1;
        return 0;
    }
    if (serial->escaped) {
        serial->escaped = 0;
        if (byte == RESET) {
            serial->greeted = 1;
            serial->have = serial->word = 0;
        } else if (byte == CREDIT) {
            serial->credit += CREDIT_BYTES;
            if (serial->credit > BUFFER_BYTES)
                serial->credit = BUFFER_BYTES;
        }
        if (byte != STUFFED)
            return 0;
        byte = ESCAPE;
    }
    serial->word = serial->word >> 8 | (uint32_t)byte << 24;
    serial->have = (serial->have + 1) % 4;
    return serial->have == 0;
}

static int serial_read(void *context, uint32_t *word)
{
    struct bitting_serial *serial = (struct bitting_serial *)context;
    uint8_t byte = 0;
    if (serial_flush(serial) < 0)
        return -1;
    for (;;) {
        int came = serial->read(serial->context, &byte);
        if (came <= 0)
            return came;
        if (serial_take(serial, byte)) {
            *word = serial->word;
            return 1;
        }
    }
}

static int serial_reset(void *context)
{
    struct bitting_serial *serial = (struct bitting_serial *)context;
    uint32_t idle = 0;
    serial->pending[0] = ESCAPE;
    serial->pending[1] = RESET;
    serial->count = 2;
    serial->next = 0;
    serial->greeted = serial->escaped = 0;
    while (!serial->greeted) {
        uint8_t byte = 0;
        int came;
        if (serial_flush(serial) < 0)
            return -1;
        came = serial->read(serial->context, &byte);
        if (came < 0 || (!came && serial->patience && ++idle > serial->patience))
            return -1;
        if (came) {
            idle = 0;
            (void)serial_take(serial, byte);
        }
    }
    serial->credit = BUFFER_BYTES;
    return 0;
}

void bitting_serial_link(struct bitting_serial *serial, struct bitting_link *link, uint32_t patience)
{
    serial->patience = patience;
    serial->credit = serial->word = serial->have = serial->count = serial->next = 0;
    serial->escaped = serial->greeted = 0;
    link->reset = serial_reset;
    link->write = serial_write;
    link->read = serial_read;
    link->context = serial;
    link->patience = patience;
}
