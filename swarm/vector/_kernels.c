/* The inner loops of blockwise quantisation, each in one pass: what kernels.py promises, as a CPython extension module.
 *
 * Optional. Where no compiler was at hand when the package was installed, plain_kernels.py does the same. No function
 * here knows a codec's layout, or fails for any content.
 *
 * Built with contraction off (see pyproject.toml), so a product is rounded before it is added, on every CPU.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define VECTORISED __attribute__((target_clones("avx2", "default")))
#else
#define VECTORISED
#endif

typedef Py_ssize_t size;

/* Added to a float below 2^22 in magnitude it rounds it half to even and leaves the integer in the low bits. */
static const float ROUNDER = 12582912.0f;

static inline size least(size a, size b) { return a < b ? a : b; }

static inline float as_float(int32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Where the scales of a slice, or its codes, are no encoder's. */
enum verdict { SOUND, BAD_SCALE, BAD_CODE, ZERO_SCALE_WITH_CODES };

static const uint16_t MIN_SCALE_BITS = 0x0080; /* the smallest normal bfloat16 */

static inline float scale_of(uint16_t bits) { return as_float((int32_t)((uint32_t)bits << 16)); }

static inline float inverse_of(float scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }

/* The largest magnitude of all. Magnitudes order as their bits do, and NaN comes after infinity: one integer maximum. */
VECTORISED static float scales(const int32_t *restrict values, size elements, size block, float limit,
                               uint16_t *restrict bits_K)
{
    int32_t largest = 0;
    for (size start = 0; start < elements; start += block) {
        const size count = least(block, elements - start);
        int32_t top = 0;
        for (size i = 0; i < count; i++) {
            const int32_t magnitude = values[start + i] & 0x7fffffff;
            top = magnitude > top ? magnitude : top;
        }
        const float scale = as_float(top) / limit;
        uint32_t bits;
        memcpy(&bits, &scale, sizeof bits);
        bits = (bits + 0x8000u) >> 16;
        bits_K[start / block] = (uint16_t)(bits < MIN_SCALE_BITS ? 0 : bits);
        largest = top > largest ? top : largest;
    }
    return as_float(largest);
}

VECTORISED static void quantise(const float *restrict values, size elements, size block, const uint16_t *restrict bits_K,
                                int8_t *restrict codes)
{
    for (size start = 0; start < elements; start += block) {
        const size count = least(block, elements - start);
        const float inverse = inverse_of(scale_of(bits_K[start / block]));
        for (size i = 0; i < count; i++) {
            const float rounded = values[start + i] * inverse + ROUNDER;
            int32_t bits;
            memcpy(&bits, &rounded, sizeof bits);
            codes[start + i] = (int8_t)bits;
        }
    }
}

VECTORISED static void quantise_with_loss(const float *restrict values, size elements, size block,
                                          const uint16_t *restrict bits_K, int8_t *restrict codes,
                                          float *restrict lost)
{
    for (size start = 0; start < elements; start += block) {
        const size count = least(block, elements - start);
        const float scale = scale_of(bits_K[start / block]), inverse = inverse_of(scale);
        for (size i = 0; i < count; i++) {
            const float value = values[start + i], rounded = value * inverse + ROUNDER;
            int32_t bits;
            memcpy(&bits, &rounded, sizeof bits);
            codes[start + i] = (int8_t)bits;
            lost[start + i] = value - (rounded - ROUNDER) * scale;
        }
    }
}

VECTORISED static enum verdict check(const int8_t *restrict codes, size elements, size block,
                                     const uint16_t *restrict bits_K, int32_t max_bits, int32_t limit)
{
    for (size start = 0; start < elements; start += block) {
        const int32_t bits = bits_K[start / block];
        if (bits != 0 && (bits < MIN_SCALE_BITS || bits > max_bits))
            return BAD_SCALE;
    }
    int8_t lowest = 0;
    for (size i = 0; i < elements; i++)
        lowest = codes[i] < lowest ? codes[i] : lowest;
    if (lowest < -limit)
        return BAD_CODE;
    for (size start = 0; start < elements; start += block) {
        if (bits_K[start / block] != 0)
            continue;
        const size count = least(block, elements - start);
        int8_t any = 0;
        for (size i = 0; i < count; i++)
            any |= codes[start + i];
        if (any != 0)
            return ZERO_SCALE_WITH_CODES;
    }
    return SOUND;
}

VECTORISED static void dequantise(const int8_t *restrict codes, size elements, size block,
                                  const uint16_t *restrict bits_K, float weight, float *restrict out)
{
    for (size start = 0; start < elements; start += block) {
        const size count = least(block, elements - start);
        const float scale = scale_of(bits_K[start / block]) * weight;
        for (size i = 0; i < count; i++)
            out[start + i] = (float)codes[start + i] * scale;
    }
}

VECTORISED static void accumulate(const int8_t *restrict codes, size elements, size block,
                                  const uint16_t *restrict bits_K, float weight, float *restrict sum)
{
    for (size start = 0; start < elements; start += block) {
        const size count = least(block, elements - start);
        const float scale = scale_of(bits_K[start / block]) * weight;
        for (size i = 0; i < count; i++)
            sum[start + i] += (float)codes[start + i] * scale;
    }
}

/* --- arguments --------------------------------------------------------------------------------------------------- */

typedef struct {
    Py_buffer views[4];
    int count;
    size block;
} Arguments;

static void release(Arguments *arguments)
{
    for (int i = 0; i < arguments->count; i++)
        PyBuffer_Release(&arguments->views[i]);
}

/* Whether buffer `index` holds `items` items of `width` bytes where such items may lie, else sets a ValueError. */
static int holds(const Arguments *arguments, int index, size items, size width)
{
    const Py_buffer *view = &arguments->views[index];
    if ((uintptr_t)view->buf % (uintptr_t)width != 0) {
        PyErr_Format(PyExc_ValueError, "buffer %d is not aligned to its items of %zd bytes", index, width);
        return 0;
    }
    if (view->len % width == 0 && view->len / width == items)
        return 1;
    PyErr_Format(PyExc_ValueError, "buffer %d has %zd bytes where %zd items of %zd are needed", index, view->len, items,
                 width);
    return 0;
}

static int has_block(const Arguments *arguments)
{
    if (arguments->block >= 1)
        return 1;
    PyErr_Format(PyExc_ValueError, "a block needs at least one element, got %zd", arguments->block);
    return 0;
}

static size blocks_of(size elements, size block) { return elements / block + (elements % block != 0); }

static int holds_scales(const Arguments *arguments, int index, size elements)
{
    return has_block(arguments) && holds(arguments, index, blocks_of(elements, arguments->block), sizeof(uint16_t));
}

static PyObject *call_scales(PyObject *Py_UNUSED(module), PyObject *args)
{
    Arguments a = {.count = 2};
    float limit, largest = 0.0f;
    if (!PyArg_ParseTuple(args, "y*nw*f", &a.views[0], &a.block, &a.views[1], &limit))
        return NULL;
    const size elements = a.views[0].len / (size)sizeof(float);
    const int fits = holds_scales(&a, 1, elements) && holds(&a, 0, elements, sizeof(float));
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        largest = scales(a.views[0].buf, elements, a.block, limit, a.views[1].buf);
        Py_END_ALLOW_THREADS
    }
    release(&a);
    return fits ? PyFloat_FromDouble(largest) : NULL;
}

static PyObject *call_quantise(PyObject *Py_UNUSED(module), PyObject *args)
{
    Arguments a = {.count = 3};
    PyObject *lost = NULL;
    if (!PyArg_ParseTuple(args, "y*ny*w*O", &a.views[0], &a.block, &a.views[1], &a.views[2], &lost))
        return NULL;
    const size elements = a.views[0].len / (size)sizeof(float);
    int fits = 1;
    if (lost != Py_None) {
        fits = PyObject_GetBuffer(lost, &a.views[3], PyBUF_WRITABLE) == 0;
        a.count += fits;
    }
    fits = fits && holds_scales(&a, 1, elements) && holds(&a, 0, elements, sizeof(float)) && holds(&a, 2, elements, 1)
           && (a.count == 3 || holds(&a, 3, elements, sizeof(float)));
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        if (a.count == 3)
            quantise(a.views[0].buf, elements, a.block, a.views[1].buf, a.views[2].buf);
        else
            quantise_with_loss(a.views[0].buf, elements, a.block, a.views[1].buf, a.views[2].buf, a.views[3].buf);
        Py_END_ALLOW_THREADS
    }
    release(&a);
    return fits ? Py_NewRef(Py_None) : NULL;
}

static PyObject *call_check(PyObject *Py_UNUSED(module), PyObject *args)
{
    static const char *const WORDS[] = {"", "scale", "code", "zero scale"};
    Arguments a = {.count = 2};
    int max_bits, limit;
    enum verdict verdict = SOUND;
    if (!PyArg_ParseTuple(args, "y*ny*ii", &a.views[0], &a.block, &a.views[1], &max_bits, &limit))
        return NULL;
    const size elements = a.views[0].len;
    const int fits = holds_scales(&a, 1, elements);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        verdict = check(a.views[0].buf, elements, a.block, a.views[1].buf, max_bits, limit);
        Py_END_ALLOW_THREADS
    }
    release(&a);
    return fits ? PyUnicode_FromString(WORDS[verdict]) : NULL;
}

typedef void Decode(const int8_t *restrict, size, size, const uint16_t *restrict, float, float *restrict);

static PyObject *call_decode(PyObject *args, Decode *decode)
{
    Arguments a = {.count = 3};
    float weight;
    if (!PyArg_ParseTuple(args, "y*ny*fw*", &a.views[0], &a.block, &a.views[1], &weight, &a.views[2]))
        return NULL;
    const size elements = a.views[0].len;
    const int fits = holds_scales(&a, 1, elements) && holds(&a, 2, elements, sizeof(float));
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        decode(a.views[0].buf, elements, a.block, a.views[1].buf, weight, a.views[2].buf);
        Py_END_ALLOW_THREADS
    }
    release(&a);
    return fits ? Py_NewRef(Py_None) : NULL;
}

static PyObject *call_dequantise(PyObject *Py_UNUSED(module), PyObject *args) { return call_decode(args, dequantise); }

static PyObject *call_accumulate(PyObject *Py_UNUSED(module), PyObject *args) { return call_decode(args, accumulate); }

static PyMethodDef METHODS[] = {
    {"scales", call_scales, METH_VARARGS, "scales(values_N, block, bits_K, limit) -> largest magnitude"},
    {"quantise", call_quantise, METH_VARARGS, "quantise(values_N, block, bits_K, codes_N, lost_N | None)"},
    {"check", call_check, METH_VARARGS, "check(codes_N, block, bits_K, max_bits, limit) -> what is wrong"},
    {"dequantise", call_dequantise, METH_VARARGS, "dequantise(codes_N, block, bits_K, weight, out_N)"},
    {"accumulate", call_accumulate, METH_VARARGS, "accumulate(codes_N, block, bits_K, weight, sum_N)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&MODULE); }
