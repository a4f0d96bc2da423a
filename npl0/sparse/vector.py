"""Vectors in Numba kernels: `LANES` numbers that one instruction loads, multiplies or adds.

Numba has no such type, and compiles a loop over sums in an array so that each sum is loaded and stored at each turn. A
variable of this type stays in a register. As Python, with arrays of `LANES` numbers:

    load(x, i)          x[i : i + LANES]
    store(x, i, v)      x[i : i + LANES] = v
    splat(number)       np.full(LANES, number)
    a * b, a + b        the same; a * b + c is rounded once where the processor has such an instruction
    larger(a, b)        np.where(b > a, b, a)

x is a flat, contiguous array of float32 or float64; like Numba, none of them checks an index. Each takes a few lines of
LLVM, the language that Numba compiles to.
"""

import operator

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic, overload

# Registers of AVX-512 hold 16 float32, of AVX2 8; where they hold fewer (NEON: 4), LLVM takes several for a vector.
LANES = 16 if llvm.get_host_cpu_features().get("avx512f") else 8


class Vector(types.Type):
    """The type of a vector of float32 or float64."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(f"Vector({dtype})")


@register_default(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector) -> None:
        number = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(number, LANES))


def _pointer(context, builder, array_type, array, index):
    """Return the pointer to the vector that begins at this index, and how its memory is aligned, in bytes."""
    data = context.make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(Vector(array_type.dtype))
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer()), array_type.dtype.bitwidth // 8


@intrinsic
def load(typing, x, index):
    """Return x[index : index + LANES] as a vector."""

    def generate(context, builder, signature, arguments):
        pointer, align = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load(pointer, align=align)

    return Vector(x.dtype)(x, types.intp), generate


@intrinsic
def store(typing, x, index, vector):
    """Write a vector to x[index : index + LANES]."""

    def generate(context, builder, signature, arguments):
        pointer, align = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], pointer, align=align)
        return context.get_dummy_value()

    return types.none(x, types.intp, vector), generate


@intrinsic
def splat(typing, number):
    """Return a vector whose lanes all hold the number."""

    def generate(context, builder, signature, arguments):
        empty = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        first = builder.insert_element(empty, arguments[0], ir.IntType(32)(0))
        return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

    return Vector(number)(number), generate


@intrinsic
def _multiply(typing, a, b):
    return a(a, b), lambda context, builder, _, arguments: builder.fmul(*arguments, flags=("contract",))


@intrinsic
def _add(typing, a, b):
    return a(a, b), lambda context, builder, _, arguments: builder.fadd(*arguments, flags=("contract",))


@overload(operator.mul)
def _multiply_operator(a, b):
    if isinstance(a, Vector):
        return lambda a, b: _multiply(a, b)


@overload(operator.add)
def _add_operator(a, b):
    if isinstance(a, Vector):
        return lambda a, b: _add(a, b)


@intrinsic
def larger(typing, a, b):
    """Return the larger of each pair of lanes."""

    def generate(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *reversed(arguments)), *reversed(arguments))

    return a(a, b), generate
