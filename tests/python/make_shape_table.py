"""Writes tests/mil/data/shapes.txt: what coremltools makes of operations built over a spread of shapes, attributes and
element types. The C++ test ShapeTableTest replays it.

    build/venv/bin/python tests/python/make_shape_table.py

A line is `operation parameter=value … -> type type …`, or `-> error` where coremltools refuses. Types are f16[2,3], with
`?` for a dynamic dimension; a value is a type (a run-time operand), a type and `!` (a constant of ones), `i32(1,2)` (a
constant vector), `i32:1` (a constant scalar), `str:valid`, or several of these joined by `+` (a tuple).
"""

import itertools
import pathlib
import warnings

import numpy as np

warnings.filterwarnings("ignore")
import logging  # noqa: E402

logging.disable(logging.CRITICAL)
import coremltools as ct  # noqa: E402
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import Function, get_new_symbol, types  # noqa: E402
from coremltools.converters.mil.mil.types.symbolic import is_symbolic  # noqa: E402

NUMPY = {"f16": np.float16, "f32": np.float32, "i32": np.int32, "i16": np.int16, "i8": np.int8, "u8": np.uint8,
         "u16": np.uint16, "u32": np.uint32, "bool": bool}
TYPES = {"f16": types.fp16, "f32": types.fp32, "i32": types.int32, "i16": types.int16, "i8": types.int8,
         "u8": types.uint8, "u16": types.uint16, "bool": types.bool}
NAMES = {value: key for key, value in TYPES.items()}


def parse(text):
    """(kind, element type, payload) of one value."""
    if ":" in text:
        dtype, value = text.split(":", 1)
        return "scalar", dtype, value
    if text.endswith(")"):
        dtype, values = text[:-1].split("(")
        return "vector", dtype, [v for v in values.split(",") if v]
    const = text.endswith("!")
    dtype, shape = text.rstrip("!")[:-1].split("[")
    return ("ones" if const else "operand"), dtype, [d for d in shape.split(",") if d]


def number(dtype, text):
    if dtype == "str":
        return text
    return NUMPY[dtype](float(text)) if dtype != "bool" else text == "1"


def build(op, params):
    """The result types as text, or None where coremltools refuses."""
    placeholders, arguments = {}, {}

    def value(text):
        kind, dtype, payload = parse(text)
        if kind == "scalar":
            return number(dtype, payload)
        if kind == "vector":
            return np.array([number(dtype, v) for v in payload], dtype=NUMPY[dtype])
        if kind == "ones":
            return np.ones([int(d) for d in payload], dtype=NUMPY[dtype])
        shape = tuple(get_new_symbol() if d == "?" else int(d) for d in payload)
        name = f"p{len(placeholders)}"
        placeholders[name] = mb.placeholder(shape=shape, dtype=TYPES[dtype], allow_rank0_input=True, name=name)
        return placeholders[name].outputs[0]

    try:
        for key, text in params.items():
            values = [value(part) for part in text.split("+")]
            is_tuple = "+" in text or key in ("values", "ref_tensors", "begins", "ends", "end_masks", "elem_shape")
            arguments[key] = tuple(values) if is_tuple else values[0]
        with Function(placeholders, opset_version=ct.target.iOS18):
            outputs = getattr(mb, op)(**arguments)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        described = []
        for output in outputs:
            shape = ["?" if is_symbolic(d) else str(int(d)) for d in output.shape]
            described.append(f"{NAMES[output.dtype]}[{','.join(shape)}]")
        return " ".join(described)
    except Exception:  # whatever it raises is its refusal
        return None


CASES = []


def case(op, **params):
    CASES.append((op, {key.rstrip("_"): value for key, value in params.items()}))


def cases(op, **choices):
    """All combinations; None leaves a parameter out."""
    keys = list(choices)
    lists = [value if isinstance(value, list) else [value] for value in choices.values()]
    for combination in itertools.product(*lists):
        case(op, **{key: value for key, value in zip(keys, combination) if value is not None})


def elementwise():
    unary = "acos asin atan atanh ceil cos cosh erf exp floor relu relu6 round sigmoid silu sin sinh softplus softsign " \
            "sqrt tan tanh inverse log rsqrt"
    for op in unary.split():
        cases(op, x=["f32[2,3]", "f16[]", "f16[?,4]", "i32[2]"])
    for op in "abs exp2 sign square".split():
        cases(op, x=["f32[2,3]", "i32[4]", "bool[2]"])
    cases("logical_not", x=["bool[2,3]", "f32[2]"])
    for op in "add sub mul real_div floor_div mod pow maximum minimum equal not_equal greater greater_equal less " \
              "less_equal".split():
        for x, y in [("f32[2,3]", "f32[3]"), ("f16[2,1,4]", "f16[5,1]"), ("i32[]", "i32[2]"), ("f32[?,3]", "f32[1,3]"),
                     ("f32[?,3]", "f32[4,1]"), ("f32[2,3]", "f32[4,3]"), ("f32[2]", "f16[2]")]:
            case(op, x=x, y=y)
    for op in "logical_and logical_or logical_xor".split():
        for x, y in [("bool[2,3]", "bool[3]"), ("bool[]", "bool[]"), ("bool[2]", "i32[2]")]:
            case(op, x=x, y=y)
    cases("cast", x=["f32[2]", "i32[?]", "bool[]", "i8[3]"],
          dtype=["str:fp16", "str:fp32", "str:int32", "str:bool", "str:int8", "str:uint16", "str:uint32", "str:fp64"])
    cases("clip", x=["f32[2]", "i32[2]"], alpha="f32:0", beta=["f32:1", "f32:-1"])
    cases("threshold", x=["f32[2]", "i32[2]"], alpha=["f32:0", "i32:1"])
    for op in "elu leaky_relu thresholded_relu".split():
        cases(op, x=["f32[2]", "f16[2,3]"], alpha=["f32:1", "f16:1"])
    for op in "clamped_relu linear_activation scaled_tanh sigmoid_hard".split():
        cases(op, x=["f32[2]", "f16[2,3]"], alpha=["f32:0", "f16:0"], beta="f32:1")
    cases("prelu", x=["f32[1,3,4,4]", "f32[1,3,4]", "f32[3,4]", "f32[1,?,4,4]"], alpha=["f32[3]!", "f32[2]!"])
    cases("softplus_parametric", x=["f32[1,3,4,4]", "f32[1,3]"], alpha="f32[3]!", beta=["f32[3]!", "f32[2]!"])
    cases("gelu", x="f32[2]", mode=[None, "str:TANH_APPROXIMATION", "str:SIGMOID_APPROXIMATION", "str:ERF"])
    cases("softmax", x=["f16[2,3]", "f32[?]"], axis=[None, "i32:0", "i32:-1"])
    for c, a, b in [("bool[2,1]", "f32[2,3]", "f32[3]"), ("bool[]", "i32[2]", "i32[2]"), ("bool[2]", "f32[2]", "i32[2]"),
                    ("f32[2]", "f32[2]", "f32[2]"), ("bool[2]", "bool[2]", "bool[2]")]:
        case("select", cond=c, a=a, b=b)


def linear_algebra():
    cases("linear", x=["f32[2,5]", "f16[3,2,5]", "f32[5]", "f32[?,5]", "i32[2,5]", "f32[2,4]"],
          weight=["f32[7,5]!", "f16[7,5]!", "i32[7,5]!"], bias=[None, "f32[7]!", "f32[5]!"])
    for x, y in [("f32[2,3]", "f32[3,4]"), ("f32[5,2,3]", "f32[3,4]"), ("f16[5,1,2,3]", "f16[6,3,4]"),
                 ("f32[?,2,3]", "f32[1,3,?]"), ("f32[3]", "f32[3,4]"), ("f32[2,3]", "f32[3]"), ("f32[2,3]", "f16[3,4]"),
                 ("f16[2,3]", "f32[3,4]!"), ("i32[2,3]", "i32[3,4]"), ("f32[2,3]", "f32[2,4]")]:
        cases("matmul", x=x, y=y, transpose_x=[None, "bool:1"])
    cases("matmul", x="f32[2,3]", y="f32[4,3]", transpose_y=[None, "bool:1"])
    cases("einsum", values=["f32[1,2,3,4]+f32[1,4,3,5]", "f32[2,3,4]+f32[4,3,5]", "f32[1,2,3,4]+f32[2,4,3,5]",
                            "f32[2,3,4]+f32[5,3,6]"],
          equation=["str:nchw,nwhu->nchu", "str:chw,whr->chr", "str:abcd,adce->abce", "str:ab,bc->ac"])
    q = "f32[2,4,6,8]"
    for k, v, m in [(q, q, None), ("f32[2,4,5,8]", "f32[2,4,5,7]", None), ("f32[2,4,5,8]", "f32[2,4,5,8]", "bool[6,5]"),
                    ("f32[2,4,5,8]", "f32[2,4,5,8]", "f16[1,1,6,5]"), (q, q, "f32[6,5]"), ("f32[1,4,6,8]", q, None),
                    ("f32[2,4,6,7]", q, None), ("f32[4,6,8]", q, None), ("f32[2,4,?,8]", "f32[2,4,?,8]", None)]:
        cases("scaled_dot_product_attention", query=q, key=k, value=v, attn_mask=m)


def windows():
    for x, w in [("f32[1,4,9]", "f32[6,4,3]!"), ("f16[2,4,9,8]", "f16[6,4,3,2]!"), ("f32[1,4,7,6,5]", "f32[6,4,3,2,1]!"),
                 ("f32[1,4,?,8]", "f32[6,4,3,3]!"), ("f32[1,5,9]", "f32[6,4,3]!"), ("f32[4,9]", "f32[6,4]!")]:
        n = max(len(x.split(",")) - 2, 0)
        cases("conv", x=x, weight=w, pad_type=[None, "str:same", "str:same_lower", "str:valid", "str:full"],
              strides=[None, f"i32({','.join(['2'] * n)})"])
        cases("conv", x=x, weight=w, pad_type="str:custom", pad=f"i32({','.join(['1', '2'] * n)})",
              dilations=[None, f"i32({','.join(['2'] * n)})"])
    cases("conv", x="f32[1,4,9]", weight=["f32[6,2,3]!", "f32[6,1,3]!", "f32[6,2,3]", "f32[6,4,30]!"],
          groups=[None, "i32:2", "i32:4"], bias=[None, "f32[6]!", "f32[4]!"])
    for x, w in [("f32[1,4,9]", "f32[4,3,3]!"), ("f16[2,4,9,8]", "f16[4,3,3,2]!"), ("f32[1,4,3,3,3]", "f32[4,2,2,2,2]!")]:
        n = len(x.split(",")) - 2
        cases("conv_transpose", x=x, weight=w, pad_type=[None, "str:same", "str:valid"],
              strides=[None, f"i32({','.join(['2'] * n)})"], groups=[None, "i32:2"])
        cases("conv_transpose", x=x, weight=w, pad_type="str:custom", pad=f"i32({','.join(['1', '1'] * n)})",
              strides=f"i32({','.join(['3'] * n)})", dilations=[None, f"i32({','.join(['2'] * n)})"])
    case("conv_transpose", x="f32[1,4,9]", weight="f32[4,3,3]!", output_shape="i32(1,3,12)")
    for op in "avg_pool max_pool l2_pool".split():
        for x in ["f32[1,2,9]", "f16[1,2,9,8]", "f32[1,2,7,6,5]", "f32[1,2,?,8]", "f32[2,9]"]:
            n = max(len(x.split(",")) - 2, 0)
            k, s = f"i32({','.join(['3'] * n)})", f"i32({','.join(['2'] * n)})"
            cases(op, x=x, kernel_sizes=k, pad_type=["str:valid", "str:same", "str:same_lower"], strides=[None, s])
            cases(op, x=x, kernel_sizes=k, pad_type="str:custom", strides=s,
                  pad=[f"i32({','.join(['1', '1'] * n)})", f"i32({','.join(['0', '1'] * n)})"], ceil_mode=[None, "bool:1"])
            cases(op, x=x, kernel_sizes=k, pad_type=["str:valid", "str:same"], strides=s, ceil_mode="bool:1")


def normalizations():
    cases("batch_norm", x=["f32[1,3,4,4]", "f16[1,3,5]", "f32[1,3,2,2,2]"], mean="f32[3]!", variance="f32[3]!",
          gamma=[None, "f32[3]!"], epsilon=[None, "f32:0.001"])
    cases("instance_norm", x=["f32[1,3,4,4]", "f16[1,3,5]"], gamma=[None, "f32[3]!"])
    cases("layer_norm", x=["f32[2,3,4]", "f16[?,4]"], axes=[None, "i32(-1)", "i32(0,1)", "i32(3)"])
    cases("layer_norm", x="f32[2,3,4]", axes=["i32(2)", "i32(1,2)"], gamma=["f32[4]!", "f32[3,4]!"])
    cases("l2_norm", x=["f32[2,3,4]", "f32[2,3]"])
    cases("local_response_norm", x="f32[1,3,4,4]", size="i32:3", alpha=[None, "f32:0.1"])


def reductions():
    for op in "sum mean max min prod l1_norm l2_norm log_sum log_sum_exp sum_square".split():
        cases("reduce_" + op, x=["f32[2,3,4]", "i32[5]", "f16[?,3]"], axes=[None, "i32(-1)", "i32(0,1)", "i32(3)"],
              keep_dims=[None, "bool:1"])
    for op in "argmax", "argmin":
        cases("reduce_" + op, x=["f32[2,3,4]", "i32[5]", "f16[?,3]"], axis=[None, "i32:0", "i32:3"],
              keep_dims=[None, "bool:1"], output_dtype=[None, "str:uint16", "str:int8"])


def transformations():
    cases("reshape", x=["f32[2,3,4]", "i8[24]", "bool[4,6]"],
          shape=["i32(24)", "i32(-1)", "i32(4,-1)", "i32(0,-1)", "i32(-1,0)", "i32(0,0,0)", "i32(0,0,0,0)", "i32(5,-1)",
                 "i32(-1,-1)", "i32(2,3,5)", "i16(6,4)", "i32(1,24,1)"])
    cases("reshape", x="f32[?,4]", shape=["i32(-1)", "i32(-1,2)", "i32(2,-1,2)", "i32[3]"])
    cases("reshape_like", x=["f32[6]", "f32[2,3]"], ref_tensors="f32[2,3]+f32[3,4]", begins="i32:0+i32:1",
          ends=["i32:2+i32:1", "i32:1+i32:2"], end_masks=["bool:0+bool:0", "bool:1+bool:0"])
    cases("transpose", x=["f32[2,3,4]", "u8[?,5,6]", "f32[2,3]"],
          perm=["i32(2,0,1)", "i32(-1,0,1)", "i32(0,1,2)", "i32(0,0,1)"])
    cases("expand_dims", x=["f32[2,3]", "i16[]", "f32[?]"], axes=["i32(0)", "i32(-1)", "i32(0,1)", "i32(-2,-1)", "i32(9)"])
    cases("squeeze", x=["f32[1,3,1]", "i8[1]", "f32[1,?,1]", "f32[2,3]"], axes=[None, "i32(0)", "i32(-1)", "i32(0,2)", "i32(1)"])
    cases("flatten2d", x=["f32[2,3,4]", "f32[5]", "f32[?,3,4]"], axis=[None, "i32:0", "i32:2", "i32:-1"])
    cases("reverse", x=["f32[2,3]", "bool[4]"], axes=[None, "i32(0)"])
    cases("reverse_sequence", x="f32[2,3]", lengths="i32[2]", seq_axis=[None, "i32:1"], batch_axis=[None, "i32:0"])
    for begin, end in [("0,0", "2,3"), ("1,1", "2,3"), ("0,0", "-1,-1"), ("-2,-1", "2,5"), ("0,2", "1,3"), ("1,0", "0,3"),
                       ("0,0", "5,9"), ("4,4", "5,9")]:
        for x in ["f32[5,9]", "i8[?,9]", "f16[1,9]"]:
            cases("slice_by_index", x=x, begin=f"i32({begin})", end=f"i32({end})", stride=[None, "i32(2,1)", "i32(-1,1)"],
                  begin_mask=[None, "bool(1,0)"], end_mask=[None, "bool(1,1)"])
            cases("slice_by_index", x=x, begin=f"i32({begin})", end=f"i32({end})", squeeze_mask=["bool(1,0)", "bool(1,1)"])
    case("slice_by_index", x="f32[5,9]", begin="i32[2]", end="i32(3,4)")
    case("slice_by_index", x="f32[5,9]", begin="i32(0,0,0)", end="i32(3,4,5)")
    cases("slice_by_size", x=["f32[5,9]", "f32[?,9]"], begin=["i32(1,2)", "i32(0,0)", "i32[2]"],
          size=["i32(2,3)", "i32(-1,-1)", "i32(1,-1)", "i32[2]"])
    cases("slice_update", x="f32[5,9]", update=["f32[2,3]", "f32[2,4]", "f16[2,3]"], begin="i32(1,2)", end="i32(3,5)")
    cases("sliding_windows", x=["f32[2,9]", "i8[9,2]", "f32[2,?]"], axis=["i32:0", "i32:-1"], size="i32:2",
          stride=[None, "i32:2", "i32:3"])
    for op, key in ("depth_to_space", "block_size"), ("pixel_shuffle", "upscale_factor"):
        cases(op, x=["f32[1,8,2,3]", "f16[2,4,?,3]", "f32[8,2,3]"], **{key: ["i32:2"]})
    cases("space_to_depth", x=["f32[1,2,4,6]", "f16[2,4,?,2]", "f32[8,2,2]"], block_size="i32:2")
    cases("pixel_unshuffle", x=["f32[1,2,4,6]", "f32[8,2,2]"], downscale_factor="u32:2")


def tensor_operations():
    cases("identity", x=["f32[2,3]", "bool[]", "i32[?]"])
    cases("concat", values=["f32[2,3]+f32[2,4]", "f32[2,3]+f32[2,3]", "i32[2]+i32[?]", "i32[]+i32[]", "f32[2]+f16[2]",
                            "f32[2]+f32[2,1]", "f32[?,3]+f32[2,3]"], axis=["i32:0", "i32:-1"], interleave=[None, "bool:1"])
    cases("stack", values=["f32[2,3]+f32[2,3]", "f32[2,3]+f32[2,4]", "i32[]+i32[]", "f32[?]+f32[3]", "f32[2]+f16[2]"],
          axis=["i32:0", "i32:-1", "i32:1", "i32:3"])
    cases("split", x=["f32[4,6]", "i32[?,6]"], axis=["i32:0", "i32:-1"], num_splits=[None, "i32:2", "i32:4"],
          split_sizes=[None, "i32(2,4)"])
    cases("tile", x=["f32[2,3]", "i32[?,3]"], reps=["i32(1,2)", "i32(2,1)", "i32(0,1)", "i32(2)", "i32[2]"])
    cases("pad", x=["f32[2,3]", "f16[?,3]"], pad=["i32(1,2,3,4)", "i32(1,1)", "i32(1,1,1)", "i32(-1,0)", "i32[4]", "i32[2]"],
          mode=[None, "str:reflect", "str:wrap"])
    cases("fill", shape=["i32(2,3)", "i32[2]"], value=[None, "i32:1", "f16:1", "bool:1"])
    cases("fill_like", ref_tensor=["f32[2,3]", "i32[?]"], value=["f32:1", "i32:1", "f16:1", "bool:1"])
    cases("one_hot", indices=["i32[2,3]", "i32[]", "i32[?]"], one_hot_vector_size=["i32:4", "i32[]"],
          axis=[None, "i32:0", "i32:3"], on_value=[None, "f32:1"], off_value=[None, "f32:0"])
    for end, start, step in [("i32:5", "i32:0", "i32:1"), ("i32:5", "i32:0", "i32:2"), ("f32:1", "f32:0", "f32:0.3"),
                             ("i32[]", "i32:0", "i32:1"), ("i32:0", "i32:5", "i32:-1"), ("f16:2", "f16:0", "f16:0.5")]:
        case("range_1d", end=end, start=start, step=step)
    cases("cumsum", x=["f32[2,3]", "i32[4]"], axis=[None, "i32:-1", "i32:1"], reverse=[None, "bool:1"])
    cases("band_part", x=["f32[2,3]", "bool[2,3]"], lower=[None, "i32:0"], upper=[None, "i32:1"])
    cases("shape", x=["f32[2,3]", "i32[]", "bool[?,4]"])
    cases("non_zero", x=["f32[2,3]", "bool[?]"])
    cases("argsort", x=["f32[2,3]", "i32[4]"], axis=[None, "i32:0"], ascending=[None, "bool:1"])
    cases("topk", x=["f32[2,5]", "i8[5]", "f16[?,5]"], k=[None, "i32:3", "i32:6"], axis=[None, "i32:0"],
          return_indices=[None, "bool:0"], output_indices_dtype=[None, "str:uint16", "str:int16"])
    cases("non_maximum_suppression", boxes="f32[1,7,4]", scores="f32[1,7,3]", iou_threshold="f32:0.5",
          max_boxes="i32:2", per_class_suppression=[None, "bool:1"])


def gathers():
    for x, i in [("f32[5,6,7]", "i32[2]"), ("f32[5,6,7]", "i32[]"), ("i8[5,6]", "u8[3,4]"), ("f32[?,6]", "i32[2]"),
                 ("f16[5,6,7]", "i16[5,2]")]:
        cases("gather", x=x, indices=i, axis=[None, "i32:1", "i32:-1", "i32:3"], batch_dims=[None, "i32:1"])
    for x, i in [("f32[5,6]", "i32[5,2]"), ("f32[5,6]", "i32[2,6]"), ("f32[5,6]", "i32[2]"), ("i16[5,?]", "u16[5,3]")]:
        cases("gather_along_axis", x=x, indices=i, axis=[None, "i32:1", "i32:-1"])
    for x, i in [("f32[5,6,7]", "i32[3,2]"), ("f32[5,6,7]", "i32[3]"), ("f32[5,6]", "i32[4,3]"), ("f32[5,6,7]", "i32[5,1]")]:
        cases("gather_nd", x=x, indices=i, batch_dims=[None, "i32:1"])
    for d, i, u in [("f32[5,6]", "i32[2]", "f32[2,6]"), ("f32[5,6]", "i32[2]", "f32[5,2]"), ("i32[5]", "i32[]", "i32[]"),
                    ("f32[5,6]", "i32[2,3]", "f32[2,3,6]"), ("f32[5,6]", "i32[2]", "f16[2,6]")]:
        cases("scatter", data=d, indices=i, updates=u, axis=[None, "i32:1"], mode=[None, "str:update"])
    for d, i, u in [("f32[5,6]", "i32[2,6]", "f32[2,6]"), ("f32[5,6]", "i32[5,2]", "f32[5,2]"), ("f32[5,6]", "i32[2,6]", "f32[2,5]")]:
        cases("scatter_along_axis", data=d, indices=i, updates=u, axis=[None, "i32:1"])
    for d, i, u in [("f32[5,6]", "i32[3,1]", "f32[3,6]"), ("f32[5,6]", "i32[3,2]", "f32[3]"), ("f32[5,6]", "i32[3,2]", "f32[3,6]")]:
        case("scatter_nd", data=d, indices=i, updates=u)


def images():
    for op in "upsample_nearest_neighbor", "upsample_bilinear":
        cases(op, x=["f32[1,2,4,5]", "f16[2,4,5]", "f32[4,5]", "f32[1,2,?,5]"], scale_factor_height=[None, "i32:2", "f32:1.5"],
              scale_factor_width=[None, "i32:3", "f32:0.7"])
    cases("resize_nearest_neighbor", x=["f32[1,2,4,5]", "f32[4,5]"], target_size_height="i32:7", target_size_width="i32:3")
    cases("resize_bilinear", x=["f32[1,2,4,5]", "f32[4,5]"], target_size_height=[None, "i32:7"],
          sampling_mode=[None, "str:ALIGN_CORNERS", "str:BAD"])
    cases("resize", x=["f32[1,2,4,5]", "i32[4,5]", "f32[1,2,?,5]"], shape=["i32(7,3)", "u16(7,0)", "i32(1,2,3,4,5)", "i32[2]"],
          resized_dims=["u32:1", "u32:2", "u32:3"], interpolation_mode=[None, "str:NEAREST_NEIGHBOR"])
    cases("crop", x=["f32[1,2,8,9]", "f32[8,9]"], crop_height=["i32(1,2)", "i32(1)"], crop_width="i32(0,3)")
    cases("crop_resize", x=["f32[2,3,8,9]", "f32[3,8,9]"], boxes=["f32[2,4]", "f32[2,5]", "f32[3,4]"],
          box_indices=[None, "i32[2]"], target_height="i32:5", target_width=[None, "i32:6"], pad_value=[None, "f32:1"])
    cases("affine", x=["f32[1,2,8,9]", "f32[2,8,9]"], transform_matrix=["f32[1,6]", "f32[1,5]"], output_height="i32:4",
          output_width="i32:5", sampling_mode="str:bilinear", padding_mode="str:constant", padding_value="f32:0",
          coordinates_mode=["str:normalized_minus_one_to_one", "str:unnormalized"], align_corners="bool:1")
    cases("resample", x=["f32[1,2,8,9]", "f32[2,8,9]"], coordinates=["f32[1,4,5,2]", "i32[1,4,5,2]", "f32[1,4,5,3]", "f32[2,4,5,2]"],
          sampling_mode="str:bilinear", padding_mode="str:constant", padding_value="f32:0",
          coordinates_mode="str:unnormalized", align_corners="bool:1")


def others():
    cases("quantize", input="f32[3,4]", scale=["f32:0.5", "f32[3]!", "f32[4]!"], zero_point=[None, "i8:1", "u8:1"],
          axis=[None, "i32:0", "i32:1"], output_dtype=["str:int8", "str:uint8", "str:int4"])
    cases("dequantize", input=["i8[3,4]", "u8[3,4]"], scale=["f32:0.5", "f16[3]!"], zero_point=[None, "i8:1"], axis=[None, "i32:0"])
    cases("constexpr_affine_dequantize", quantized_data=["u8[3,4]!", "i8[3,4]!"], zero_point=["u8:1", "f32:1"],
          scale=["f32:1", "f16[3]!", "f32[4]!"], axis=["i32:0", "i32:-1", "i32:2"])
    cases("constexpr_blockwise_shift_scale", data=["i8[4,6]!", "u8[4,6]!", "f16[4,6]!"],
          scale=["f16[4,1]!", "f32[2,3]!", "f16[3,1]!", "f16[4]!"], offset=[None, "i8[4,1]!", "f16[2,3]!"])
    cases("constexpr_cast", source_val="f16[3,4]!", output_dtype=["str:fp32", "str:fp16"])
    cases("constexpr_lut_to_dense", indices="u8[4,6]!", lut=["f16[1,1,256,1]!", "f32[2,3,256,2]!", "f16[1,1,16,1]!"],
          vector_axis=[None, "i32:0", "i32:-1"])
    h, f = 5, 3
    cases("lstm", x=[f"f32[7,2,{f}]", f"f32[?,2,{f}]", f"f32[2,{f}]"], initial_h=f"f32[2,{h}]", initial_c=f"f32[2,{h}]",
          weight_ih=f"f32[{4 * h},{f}]!", weight_hh=[f"f32[{4 * h},{h}]!", f"f32[{3 * h},{h}]!"],
          direction=[None, "str:reverse", "str:sideways"], output_sequence=[None, "bool:1"])
    case("lstm", x=f"f32[7,2,{f}]", initial_h=f"f32[2,{2 * h}]", initial_c=f"f32[2,{2 * h}]", weight_ih=f"f32[{4 * h},{f}]!",
         weight_hh=f"f32[{4 * h},{h}]!", weight_ih_back=f"f32[{4 * h},{f}]!", weight_hh_back=f"f32[{4 * h},{h}]!",
         direction="str:bidirectional")
    cases("gru", x=f"f16[7,2,{f}]", initial_h=f"f16[2,{h}]", weight_ih=f"f16[{3 * h},{f}]!",
          weight_hh=[f"f16[{3 * h},{h}]!", f"f16[{4 * h},{h}]!"], output_sequence=[None, "bool:1"])
    cases("rnn", x=f"f32[7,2,{f}]", initial_h=f"f32[2,{h}]", weight_ih=f"f32[{h},{f}]!", weight_hh=f"f32[{h},{h}]!",
          output_sequence=[None, "bool:1"])
    cases("random_bernoulli", shape=["i32(2,3)", "i32[2]"], prob=[None, "f16:0.5"])
    cases("random_normal", shape=["i32(2,3)", "i32[2]"], mean=[None, "f32:1"], stddev=[None, "f16:1"])
    cases("random_uniform", shape=["i32(2,3)", "i32[2]"], low=[None, "f32:-1"])
    cases("random_categorical", x=["f32[2,5]", "f16[5]"], size=[None, "i32:4"])


def main():
    for family in elementwise, linear_algebra, windows, normalizations, reductions, transformations, tensor_operations, \
            gathers, images, others:
        family()
    lines, seen = [], set()
    for op, params in CASES:
        head = " ".join([op] + [f"{key}={value}" for key, value in params.items()])
        if head in seen:
            continue
        seen.add(head)
        lines.append(f"{head} -> {build(op, params) or 'error'}")
    path = pathlib.Path(__file__).resolve().parents[1] / "mil" / "data" / "shapes.txt"
    path.write_text(f"# Made by tests/python/make_shape_table.py with coremltools {ct.__version__}.\n" + "\n".join(lines) + "\n")
    print(f"{len(lines)} cases, {sum(line.endswith('error') for line in lines)} refused, "
          f"{len({line.split()[0] for line in lines})} operations -> {path}")


if __name__ == "__main__":
    main()
