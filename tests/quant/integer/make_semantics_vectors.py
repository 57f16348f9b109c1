#!/usr/bin/env python3
"""Writes tests/golden/integer_semantics.safetensors: cases for docs/integer-semantics.md.

Everything is computed with Python's integers and fractions, from the text of the specification and without
any of the C++ code. The same bytes come out every time. Standard library only.

    python3 tests/quant/integer/make_semantics_vectors.py [FILE]
"""

import itertools
import json
import pathlib
import struct
import sys
from fractions import Fraction

INT32_MAX = 2**31 - 1


class Random:
    """splitmix64: the same numbers under every version of Python."""

    def __init__(self, seed):
        self.state = seed

    def word(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    def between(self, lo, hi):
        return lo + self.word() % (hi - lo + 1)

    def pick(self, values):
        return values[self.word() % len(values)]


# ---- the arithmetic


def half_even(x):
    """The whole number nearest to a fraction; of two, the even one."""
    below = x.numerator // x.denominator
    rest = x - below
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1):
        return below + 1
    return below


def requantize(acc, multiplier, shift, zero_point, lo, hi):
    return min(max(half_even(Fraction(acc * multiplier, 2**shift)) + zero_point, lo), hi)


def multiplier_of(scale):
    """(multiplier, shift) of a float, or None."""
    x, shift, two = Fraction(scale), 31, Fraction(2)
    while x * two**shift >= 2**31:
        shift -= 1
    while x * two**shift < 2**30:
        shift += 1
    multiplier = half_even(x * two**shift)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift - 1
    return (multiplier, shift) if 0 <= shift <= 62 else None


def convolve(x, weight, bias, zero_point, stride, padding, dilation, groups):
    """Sums [K][OH][OW] of x [C][H][W] and weight [K][C / groups][R][S]."""
    height, width = len(x[0]), len(x[0][0])
    per_group, depth = len(weight) // groups, len(weight[0])
    rows, cols = len(weight[0][0]), len(weight[0][0][0])
    out_h = (height + 2 * padding[0] - dilation[0] * (rows - 1) - 1) // stride[0] + 1
    out_w = (width + 2 * padding[1] - dilation[1] * (cols - 1) - 1) // stride[1] + 1
    result = []
    for k, i, j in itertools.product(range(len(weight)), range(out_h), range(out_w)):
        acc = bias[k]
        for c, r, s in itertools.product(range(depth), range(rows), range(cols)):
            y = i * stride[0] + r * dilation[0] - padding[0]
            at = j * stride[1] + s * dilation[1] - padding[1]
            if 0 <= y < height and 0 <= at < width:
                acc += (x[k // per_group * depth + c][y][at] - zero_point) * weight[k][c][r][s]
        result.append(acc)
    return result, out_h, out_w


def pooled_size(size, kernel, stride, padding, dilation, ceil_mode):
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    n = (-(-span // stride) if ceil_mode else span // stride) + 1
    # The last window starts inside of the image or of the padding before it.
    return n - 1 if ceil_mode and (n - 1) * stride >= size + padding else n


def max_pool(x, lo, kernel, stride, padding, dilation, ceil_mode):
    """The largest codes of the windows of x [H][W]."""
    out_h, out_w = (pooled_size(len(x) if d == 0 else len(x[0]), kernel[d], stride[d], padding[d], dilation[d],
                                ceil_mode) for d in (0, 1))
    result = []
    for i, j in itertools.product(range(out_h), range(out_w)):
        window = [lo]
        for r, s in itertools.product(range(kernel[0]), range(kernel[1])):
            y, at = i * stride[0] + r * dilation[0] - padding[0], j * stride[1] + s * dilation[1] - padding[1]
            if 0 <= y < len(x) and 0 <= at < len(x[0]):
                window.append(x[y][at])
        result.append(max(window))
    return result, out_h, out_w


# ---- cases


def code_range(bits, signed):
    return (-(2**(bits - 1)), 2**(bits - 1) - 1) if signed else (0, 2**bits - 1)


def random_format(rng):
    """(bits, signed, zero_point, lo, hi)"""
    bits = rng.pick([1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 8, 8])
    signed = bits > 1 and rng.between(0, 1) == 1
    lo, hi = code_range(bits, signed)
    zero_point = rng.between(lo, hi) if rng.between(0, 1) else 0
    if rng.between(0, 3) == 0:
        lo = zero_point  # a ReLU
    return bits, signed, zero_point, lo, hi


def requantization_cases(rng):
    formats = [(8, True, 0, -128, 127), (8, False, 0, 0, 255), (8, False, 128, 0, 255), (8, False, 1, 0, 255),
               (8, True, -1, -1, 127), (4, False, 0, 0, 15), (4, True, 3, -8, 7), (2, True, 0, -2, 1),
               (1, False, 0, 0, 1), (1, False, 1, 0, 1)]
    formats += [random_format(rng) for _ in range(40)]
    cases = []

    def add(acc, multiplier, shift, f):
        if abs(acc) <= INT32_MAX and 2**30 <= multiplier < 2**31 and 0 <= shift <= 62:
            _, _, zero_point, lo, hi = f
            cases.append((acc, multiplier, shift, zero_point, lo, hi,
                          requantize(acc, multiplier, shift, zero_point, lo, hi)))

    # The ends of everything.
    for acc, multiplier, shift in itertools.product(
        [0, 1, -1, 2, -2, 2**30, -(2**30), INT32_MAX - 1, INT32_MAX, -INT32_MAX],
        [2**30, 2**30 + 1, 3 * 2**29, 2**31 - 2, INT32_MAX], [0, 1, 29, 30, 31, 32, 33, 53, 60, 61, 62]):
        for f in (formats[rng.between(0, 9)], rng.pick(formats)):
            add(acc, multiplier, shift, f)

    # Ties: multiplier = odd * 2^zeros, acc = t * 2^i, and acc * multiplier / 2^shift = odd * t / 2. And what
    # lies as close to a tie as integers allow.
    while len(cases) < 4700:
        odd = rng.pick([1, 1, 1, 3, 5, 7, 9, 11, 13, 15, 21, 33, 63, 127, 129, 255])
        zeros = 31 - odd.bit_length()
        f = rng.pick(formats)
        _, _, zero_point, lo, hi = f
        halves = 2 * rng.between(lo - zero_point - 2, hi - zero_point + 1) + 1  # the tie is halves / 2
        if halves % odd != 0:
            halves = odd * (2 * rng.between(-2, 1) + 1)
        t = halves // odd
        shift = zeros + 1 + rng.between(0, 31 - abs(t).bit_length())
        acc = t * 2**(shift - zeros - 1)
        if shift > 62:
            continue
        for beside in (-1, 0, 1):
            add(acc + beside, odd * 2**zeros, shift, f)
        add(acc, odd * 2**zeros + 1, shift, f)
        add(acc, odd * 2**zeros - 1, shift, f)

    # Sums that reach the codes and a little beyond, with any multiplier.
    while len(cases) < 7700:
        multiplier = rng.between(2**30, INT32_MAX)
        shift = rng.between(24, 62)
        f = rng.pick(formats)
        _, _, zero_point, lo, hi = f
        target = rng.between(8 * (lo - zero_point - 4), 8 * (hi - zero_point + 4))  # in eighths
        add(target * 2**shift // (8 * multiplier) + rng.between(-1, 1), multiplier, shift, f)

    # Anything.
    while len(cases) < 8600:
        acc = rng.between(-INT32_MAX, INT32_MAX) >> rng.between(0, 30)
        add(acc, rng.between(2**30, INT32_MAX), rng.between(0, 62), rng.pick(formats))
    return cases


def logit_cases(rng):
    """Sums that are brought to another scale instead of becoming codes."""
    cases = []
    while len(cases) < 400:
        acc = rng.between(-INT32_MAX, INT32_MAX) >> rng.between(0, 30)
        multiplier = rng.pick([2**30, INT32_MAX, rng.between(2**30, INT32_MAX)])
        shift = rng.between(28, 62 if len(cases) % 2 else 33)
        cases.append((acc, multiplier, shift, requantize(acc, multiplier, shift, 0, -INT32_MAX, INT32_MAX)))
    return cases


def scale_cases(rng):
    scales = [2.0**e for e in range(-32, 31)]
    for e in (-32, -31, -20, -8, -1, 0, 1, 7, 20, 29, 30):
        for k in (1, 2, 3, 4, 5, 6, 7, 8):
            # Halfway between two multipliers of [1, 2) and of [1/2, 1), and a step of 2^-52 beside it.
            for x in (1 + k * 2.0**-31, 1 + (2 * k - 1) * 2.0**-31, 1 - k * 2.0**-33, 1 - (2 * k - 1) * 2.0**-32):
                scales += [x * 2.0**e, (x + 2.0**-52) * 2.0**e, (x - 2.0**-52) * 2.0**e]
    while len(scales) < 1700:
        scales.append((2**52 + rng.between(0, 2**52 - 1)) * 2.0**(rng.between(-32, 30) - 52))
    while len(scales) < 1850:  # what comes of scales in float32
        numerator, denominator = (struct.unpack("f", struct.pack("f", rng.between(1, 2**24) * 2.0**-24))[0]
                                  for _ in range(2))
        scales.append(numerator / denominator)
    good = [(s, *multiplier_of(s)) for s in scales if multiplier_of(s) is not None]
    refused = [s for s in scales if multiplier_of(s) is None]
    refused += [2.0**-33, 2.0**-32 * (1 - 2.0**-30), 2.0**31, 2.0**31 * (1 - 2.0**-40), 2.0**40, 2.0**-1000,
                2.0**1000, 5e-324, 2.0**-1022]
    assert all(multiplier_of(s) is None for s in refused)
    return good, refused


def weights_of(rng, bits, n):
    if bits == 1:
        return [rng.pick([-1, 1]) for _ in range(n)]
    most = 2**(bits - 1) - 1
    kind = rng.between(0, 3)  # 0: the ends only
    return [rng.pick([-most, most]) if kind == 0 else rng.between(-most, most) for _ in range(n)]


def codes_of(rng, lo, hi, n):
    kind = rng.between(0, 3)
    return [rng.pick([lo, hi]) if kind == 0 else rng.between(lo, hi) for _ in range(n)]


def dot_cases(rng):
    cases = []
    lengths = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 27, 31, 32, 33]
    while len(cases) < 1100:
        n = rng.pick(lengths) if len(cases) % 40 else rng.pick([63, 64, 65, 127, 128, 255, 300])
        bits, signed, zero_point, lo, hi = random_format(rng)
        weight_bits = rng.pick([1, 2, 3, 4, 5, 6, 7, 8])
        codes, weights = codes_of(rng, lo, hi, n), weights_of(rng, weight_bits, n)
        bias = rng.between(-(2**rng.pick([3, 15, 25])), 2**rng.pick([3, 15, 25]))
        acc = bias + sum((c - zero_point) * w for c, w in zip(codes, weights))
        cases.append((bits, signed, zero_point, lo, hi, weight_bits, bias, codes, weights, acc))
    return cases


def conv_cases(rng):
    cases = []
    while len(cases) < 120:
        groups = rng.pick([1, 1, 1, 2, 3])
        depth, per_group = rng.between(1, 3), rng.between(1, 2)
        height, width = rng.between(1, 7), rng.between(1, 7)
        rows, cols = rng.between(1, 3), rng.between(1, 3)
        stride, padding, dilation = ([rng.between(1, 3), rng.between(1, 3)], [rng.between(0, 3), rng.between(0, 3)],
                                     [rng.between(1, 2), rng.between(1, 2)])
        if height + 2 * padding[0] < dilation[0] * (rows - 1) + 1:
            continue
        if width + 2 * padding[1] < dilation[1] * (cols - 1) + 1:
            continue
        bits, signed, zero_point, lo, hi = random_format(rng)
        weight_bits = rng.pick([1, 2, 4, 8])
        channels, filters = groups * depth, groups * per_group
        flat = codes_of(rng, lo, hi, channels * height * width)
        weights = weights_of(rng, weight_bits, filters * depth * rows * cols)
        bias = [rng.between(-300, 300) for _ in range(filters)]
        x = [[flat[(c * height + y) * width:][:width] for y in range(height)] for c in range(channels)]
        weight = [[[weights[((k * depth + c) * rows + r) * cols:][:cols] for r in range(rows)]
                   for c in range(depth)] for k in range(filters)]
        sums, out_h, out_w = convolve(x, weight, bias, zero_point, stride, padding, dilation, groups)
        sizes = [channels, height, width, filters, rows, cols, *stride, *padding, *dilation, groups, out_h, out_w,
                 bits, int(signed), zero_point, lo, hi, weight_bits]
        cases.append((sizes, flat, weights, bias, sums))
    return cases


def pool_cases(rng):
    cases = []
    while len(cases) < 300:
        height, width = rng.between(1, 7), rng.between(1, 7)
        kernel = [rng.between(1, 3), rng.between(1, 3)]
        stride, dilation = [rng.between(1, 3), rng.between(1, 3)], [rng.between(1, 2), rng.between(1, 2)]
        padding = [rng.between(0, kernel[0] // 2), rng.between(0, kernel[1] // 2)]
        if height + 2 * padding[0] < dilation[0] * (kernel[0] - 1) + 1:
            continue
        if width + 2 * padding[1] < dilation[1] * (kernel[1] - 1) + 1:
            continue
        bits, signed, zero_point, lo, hi = random_format(rng)
        # Few different codes: ties in most windows.
        few = [rng.between(lo, hi) for _ in range(rng.between(1, 3))]
        flat = [rng.pick(few) for _ in range(height * width)]
        ceil_mode = rng.between(0, 1)
        x = [flat[y * width:][:width] for y in range(height)]
        codes, out_h, out_w = max_pool(x, lo, kernel, stride, padding, dilation, ceil_mode)
        cases.append(([height, width, *kernel, *stride, *padding, *dilation, ceil_mode, out_h, out_w, bits,
                       int(signed), zero_point, lo, hi], flat, codes))
    return cases


def argmax_cases(rng):
    cases = []
    while len(cases) < 300:
        n = rng.between(1, 12)
        logits = [rng.between(-3, 3) for _ in range(n)]
        if rng.between(0, 3) == 0:
            logits = [rng.pick([-INT32_MAX, INT32_MAX, 0]) for _ in range(n)]
        best = max(logits)
        cases.append((logits, [i for i, v in enumerate(logits) if v == best][0]))
    return cases


# ---- the file

TYPES = {"F64": ("d", 8), "I32": ("i", 4), "I16": ("h", 2), "U8": ("B", 1), "I8": ("b", 1)}


def write_safetensors(path, metadata, tensors):
    header, data = {"__metadata__": metadata}, b""
    for name, (kind, values, *columns) in sorted(tensors.items(), key=lambda t: (-TYPES[t[1][0]][1], t[0])):
        packed = struct.pack("<%d%s" % (len(values), TYPES[kind][0]), *values)
        shape = [len(values)] if not columns else [len(values) // columns[0], columns[0]]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return 8 + len(text) + len(data)


def flat(lists):
    return [value for values in lists for value in values]


def main():
    path = pathlib.Path(__file__).resolve().parents[2] / "golden/integer_semantics.safetensors"
    if len(sys.argv) > 1:
        path = pathlib.Path(sys.argv[1])
    tensors = {}

    def add(group, names, cases):
        for (name, kind), values in zip(names, zip(*cases)):
            tensors[group + "." + name] = (kind, [int(v) if kind != "F64" else v for v in values])

    requantized, logits = requantization_cases(Random(1)), logit_cases(Random(2))
    add("requantize", [("acc", "I32"), ("multiplier", "I32"), ("shift", "U8"), ("zero_point", "I16"), ("lo", "I16"),
                       ("hi", "I16"), ("code", "I16")], requantized)
    add("logit", [("acc", "I32"), ("multiplier", "I32"), ("shift", "U8"), ("out", "I32")], logits)
    scales, refused = scale_cases(Random(3))
    add("multiplier", [("scale", "F64"), ("multiplier", "I32"), ("shift", "U8")], scales)
    tensors["multiplier.refused"] = ("F64", refused)
    dots = dot_cases(Random(4))
    add("dot", [("bits", "U8"), ("signed", "U8"), ("zero_point", "I16"), ("lo", "I16"), ("hi", "I16"),
                ("weight_bits", "U8"), ("bias", "I32")], [c[:7] for c in dots])
    tensors["dot.length"] = ("I16", [len(c[7]) for c in dots])
    tensors["dot.codes"] = ("I16", flat(c[7] for c in dots))
    tensors["dot.weights"] = ("I8", flat(c[8] for c in dots))
    tensors["dot.acc"] = ("I32", [c[9] for c in dots])
    convs = conv_cases(Random(5))
    for at, (name, kind) in enumerate([("codes", "I16"), ("weights", "I8"), ("bias", "I16"), ("acc", "I32")]):
        tensors["conv." + name] = (kind, flat(c[at + 1] for c in convs))
    tensors["conv.sizes"] = ("I16", flat(c[0] for c in convs), len(convs[0][0]))
    pools = pool_cases(Random(6))
    tensors["pool.sizes"] = ("I16", flat(c[0] for c in pools), len(pools[0][0]))
    tensors["pool.codes"] = ("I16", flat(c[1] for c in pools))
    tensors["pool.largest"] = ("I16", flat(c[2] for c in pools))
    maxima = argmax_cases(Random(7))
    tensors["argmax.length"] = ("U8", [len(c[0]) for c in maxima])
    tensors["argmax.logits"] = ("I32", flat(c[0] for c in maxima))
    tensors["argmax.index"] = ("U8", [c[1] for c in maxima])

    counts = {"requantize": len(requantized), "logit": len(logits), "multiplier": len(scales) + len(refused),
              "dot": len(dots), "conv": len(convs), "pool": len(pools), "argmax": len(maxima)}
    metadata = {"cases": str(sum(counts.values())), "specification": "docs/integer-semantics.md",
                "generator": "tests/quant/integer/make_semantics_vectors.py"}
    size = write_safetensors(path, metadata, tensors)
    print("%s: %d bytes, %s" % (path, size, ", ".join("%d %s" % (n, name) for name, n in counts.items())))


if __name__ == "__main__":
    main()
