/* Inputs and answers in the user's units, for a host that has floating point: what the packet file says of them.
 *
 * A companion of bitting_host.h, C99, also C++. It allocates nothing and needs no library. `float` has 32 bits (IEEE 754).
 *
 *     if (bitting_has_units(&host)) {
 *         status = bitting_activations(&host, inputs, samples, activations);       floats to what bitting_run takes
 *         if (!status) status = bitting_run(&host, activations, samples, answers);
 *         if (!status) bitting_values(&host, answers, samples, values);            its answers to floats
 *     }
 */
#ifndef BITTING_UNITS_H
#define BITTING_UNITS_H

#include "bitting_host.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the answers are asked for. */
enum bitting_task {
    BITTING_CLASSES = 0, /* the largest of a sample's values is its class */
    BITTING_BINARY,      /* one value: yes, if it is positive */
    BITTING_LABELS,      /* a value for each label: yes, if it is positive */
    BITTING_REGRESSION   /* numbers in the target's units */
};

/* 1: the file says how inputs become activations, and what answers mean; 0: it does not. */
int bitting_has_units(const struct bitting_host *host);

/* One of enum bitting_task; BITTING_CLASSES if the file says nothing. */
int bitting_task_of(const struct bitting_host *host);

/* inputs[sample * input_words + i] to activations of the same place: floor((x - offset) * scale), within their range.
 * BITTING_BAD_CALL if a number is none (NaN), or the file says nothing of inputs. */
int bitting_activations(const struct bitting_host *host, const float *inputs, uint32_t samples, int8_t *activations);

/* answers[sample * outputs + j] to values of the same place: answer * scale + offset. */
void bitting_values(const struct bitting_host *host, const int32_t *answers, uint32_t samples, float *values);

#ifdef __cplusplus
}
#endif

#endif
