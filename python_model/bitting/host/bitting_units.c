/* See bitting_units.h. The interface section is that of docs/format.md, section 11. */
#include "bitting_units.h"

enum { LOW, HIGH, TASK, INPUTS, OUTPUTS, ARRAYS }; /* words of the section, then its arrays */

static uint32_t word_at(const struct bitting_host *host, uint32_t index)
{
    const uint8_t *byte = host->file + (size_t)(host->units + index) * 4;
    return byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 | (uint32_t)byte[3] << 24;
}

static float float_at(const struct bitting_host *host, uint32_t index)
{
    union {
        uint32_t bits;
        float value;
    } number;
    number.bits = word_at(host, index);
    return number.value;
}

/* Number `index` of an array that begins at `from` and has `count` numbers: one of each, or one for all. */
static float number(const struct bitting_host *host, uint32_t from, uint32_t count, uint32_t index)
{
    return float_at(host, from + (count == 1 ? 0 : index));
}

int bitting_has_units(const struct bitting_host *host) { return host->units != 0; }

int bitting_task_of(const struct bitting_host *host)
{
    return host->units ? (int)word_at(host, TASK) : BITTING_CLASSES;
}

static int floor_within(float value, int low, int high)
{
    int whole;
    if (value < (float)low)
        return low;
    if (value >= (float)high)
        return high;
    whole = (int)value; /* towards zero */
    return (float)whole > value ? whole - 1 : whole;
}

int bitting_activations(const struct bitting_host *host, const float *inputs, uint32_t samples, int8_t *activations)
{
    uint32_t sample, index, count;
    int low, high;
    if (!host->units)
        return BITTING_BAD_CALL;
    count = word_at(host, INPUTS);
    low = (int)word_at(host, LOW) - 128; /* written 128 higher, so that it is not negative */
    high = (int)word_at(host, HIGH) - 128;
    for (sample = 0; sample < samples; ++sample)
        for (index = 0; index < host->input_words; ++index) {
            size_t place = (size_t)sample * host->input_words + index;
            float distance = inputs[place] - number(host, ARRAYS, count, index);
            float scaled = distance * number(host, ARRAYS + count, count, index);
            if (!(scaled == scaled))
                return BITTING_BAD_CALL;
            activations[place] = (int8_t)floor_within(scaled, low, high);
        }
    return BITTING_OK;
}

void bitting_values(const struct bitting_host *host, const int32_t *answers, uint32_t samples, float *values)
{
    uint32_t sample, index, inputs, outputs, from;
    if (!host->units) {
        for (index = 0; index < samples * host->outputs; ++index)
            values[index] = (float)answers[index];
        return;
    }
    inputs = word_at(host, INPUTS);
    outputs = word_at(host, OUTPUTS);
    from = ARRAYS + 2 * inputs;
    for (sample = 0; sample < samples; ++sample)
        for (index = 0; index < host->outputs; ++index) {
            size_t place = (size_t)sample * host->outputs + index;
            float product = (float)answers[place] * number(host, from + outputs, outputs, index);
            values[place] = product + number(host, from, outputs, index);
        }
}
