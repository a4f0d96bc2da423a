"""The fixed parts of the C files that `npl0/sparse/c_source.py` writes."""

HEADER = """\
/* {title}, written by npl0. */
#ifndef {NAME}_H
#define {NAME}_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {{
#endif

#define {NAME}_INPUTS {inputs} /* {shape}: pixels 0..255, channel by channel, row by row */
#define {NAME}_OUTPUTS {outputs}
#define {NAME}_SCALE {scale:.9g} /* of the logits that {name}_predict writes */

/* Neither function may run twice at a time: both work in static memory. */
void {name}_predict(const uint8_t image[{NAME}_INPUTS], {sum} logits[{NAME}_OUTPUTS]);
int {name}_classify(const uint8_t image[{NAME}_INPUTS]); /* the number of the largest logit */

#ifdef __cplusplus
}}
#endif
#endif
"""
SOURCE = """\
/* {title}, written by npl0.

For each output of a layer, _count holds how many weights it has; for each of these, _gap is the distance from the
column of the one before it, counted over channels and the taps of the kernel, and _weight its value. */
#include "{name}.h"
#include <string.h>

typedef {value} value;
typedef {sum} sum;

{constants}
static value a[{a}], b[{b}];
static sum map[{map}];
{narrow}
void {name}_predict(const uint8_t image[{NAME}_INPUTS], {sum} logits[{NAME}_OUTPUTS]) {{
    int n;
    (void)a, (void)b; /* a network of one layer needs only one of them */

    {code}
}}

int {name}_classify(const uint8_t image[{NAME}_INPUTS]) {{
    static sum logits[{NAME}_OUTPUTS];
    int best = 0;
    {name}_predict(image, logits);
    for (int k = 1; k < {NAME}_OUTPUTS; k++)
        if (logits[k] > logits[best]) best = k;
    return best;
}}
"""
NARROW = """
/* Divide by a power of two, rounding to the nearest; the shift of a negative number is up to the compiler. */
static value narrow(sum s, int shift) {
    const sum half = (sum)1 << shift >> 1;
    return (value)(s >= 0 ? (s + half) >> shift : -((half - s) >> shift));
}
"""
