"""Programs written with coremltools' own builder, for MIL operations that its PyTorch frontend does not emit.

OPERATIONS maps an operation to functions (case, expected): `case(x, i)` emits it on the inputs of the program, x of shape
[1, 4, 4, 6] and the integers i; `expected(x, i)` is an independent formula in NumPy. None stands for what coremltools itself
computes of constants (its value_inference).
"""

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Function, types

X = np.random.default_rng(3).standard_normal((1, 4, 4, 6)).astype(np.float32)
I = np.array([2, 0, 1, 3], np.int32)
V = np.array([0.5, 1.5, 0.25, 2.0], np.float32)


def grid(size, wanted, mode, low=0.0, high=None):
    """Where the samples of one axis lie: `wanted` of them over the pixels from low to high."""
    high = size - 1 if high is None else high
    length, steps = high - low + 1, np.arange(wanted, dtype=np.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = low + steps * (length - 1) / (wanted - 1)
    elif mode == "DEFAULT":
        points = low + steps * (length - length / wanted) / (wanted - 1)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, length - 1) / wanted
        points = low + 0.5 * delta + steps * delta
    else:  # UNALIGN_CORNERS
        points = low + (steps + 0.5) * length / wanted - 0.5
    return np.clip(points, 0, size - 1)


def sampled(x, rows, columns):
    """Bilinear samples of the last two axes."""
    def along(x, points, axis):
        before = np.floor(points).astype(int)
        after = np.minimum(before + 1, x.shape[axis] - 1)
        weight = (points - before).reshape([-1] + [1] * (-axis - 1))
        return np.take(x, before, axis) * (1 - weight) + np.take(x, after, axis) * weight
    return along(along(x.astype(np.float64), rows, -2), columns, -1)


def blocks(x, block):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // block, block, w // block, block)


def windows(x, size):
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))


def response_norm(x, size, alpha, beta, k):
    squares, before = np.pad(x * x, ((0, 0), (size // 2, size - 1 - size // 2), (0, 0), (0, 0))), x.shape[1]
    return x / (k + alpha / size * sum(squares[:, j:j + before] for j in range(size))) ** beta


def reversed_rows(x, lengths):
    y = x.copy()
    for row, length in enumerate(lengths):
        y[0, row, :length] = x[0, row, :length][::-1]
    return y


BOXES = np.array([[0, 0.5, 5, 5, 0, 9], [0, 0, 5, 5.5, 3, 9], [2, 2, 2, 2, 2, 1], [2, 2, 2, 3, 2, 1]], np.float32)


def suppressed(scores, threshold, wanted):
    """Indices of boxes (centre and size) by falling score, without those that overlap one before."""
    low, high = BOXES[:2] - BOXES[2:] / 2, BOXES[:2] + BOXES[2:] / 2
    area, kept = BOXES[2] * BOXES[3], []
    for j in np.argsort(-scores):
        common = [np.prod(np.clip(np.minimum(high[:, j], high[:, k]) - np.maximum(low[:, j], low[:, k]), 0, None)) for k in kept]
        if all(both / (area[j] + area[k] - both) <= threshold for both, k in zip(common, kept)):
            kept.append(j)
    return np.array((kept + [-1] * wanted)[:wanted])


def gru(x, h, w, r, b):
    """Weights lie as coremltools has them: reset gate, new state, update gate."""
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    (wr, wo, wz), (rr, ro, rz), (br, bo, bz) = np.split(w, 3), np.split(r, 3), np.split(b, 3)
    for step in x:
        reset, update = sigmoid(step @ wr.T + h @ rr.T + br), sigmoid(step @ wz.T + h @ rz.T + bz)
        new = np.tanh(step @ wo.T + (reset * h) @ ro.T + bo)
        h = (1 - update) * new + update * h
    return h


W, R, B = (np.random.default_rng(4).standard_normal(shape).astype(np.float32) * 0.5 for shape in ((9, 6), (9, 3), (9,)))
SPARSE = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)


def constexpr(build):
    """A compressed constant, used by an operation that needs it at run time."""
    return lambda x, i: mb.add(x=mb.reduce_sum(x=x, axes=[0, 1, 2, 3], keep_dims=False), y=build())


def plus_sum(array):
    return lambda x, i: array + x.sum()


def sparse(result):
    mask, data = result
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask)


def list_of(x):
    ls = mb.make_list(init_length=3, dynamic_length=False, elem_shape=(4, 6), dtype="fp32")
    return mb.list_write(ls=ls, index=1, value=mb.squeeze(x=mb.slice_by_size(x=x, begin=[0, 2, 0, 0], size=[1, 1, 4, 6]), axes=[0, 1]))


def scattered(x):
    ls = mb.make_list(init_length=4, dynamic_length=False, elem_shape=(4, 6), dtype="fp32")
    return mb.list_scatter(ls=ls, indices=[3, 1], value=mb.squeeze(x=mb.slice_by_size(x=x, begin=[0, 0, 0, 0], size=[1, 2, 4, 6]), axes=[0]))


OPERATIONS = {
    "clamped_relu": (lambda x, i: mb.clamped_relu(x=x, alpha=0.5, beta=0.75), None),
    "linear_activation": (lambda x, i: mb.linear_activation(x=x, alpha=0.5, beta=0.75), None),
    "scaled_tanh": (lambda x, i: mb.scaled_tanh(x=x, alpha=0.5, beta=0.75), None),
    "softplus_parametric": (lambda x, i: mb.softplus_parametric(x=x, alpha=V, beta=V[::-1].copy()), None),
    "softsign": (lambda x, i: mb.softsign(x=x), None),
    "prelu": (lambda x, i: mb.prelu(x=x, alpha=V), None),
    "l2_norm": (lambda x, i: mb.l2_norm(x=x, epsilon=1e-3), lambda x, i: x / np.sqrt((x * x).sum((1, 2, 3), keepdims=True) + 1e-3)),
    "local_response_norm": (lambda x, i: mb.local_response_norm(x=x, size=3, alpha=0.5, beta=0.75, k=2.0),
                            lambda x, i: response_norm(x, 3, 0.5, 0.75, 2.0)),
    "l2_pool": (lambda x, i: mb.l2_pool(x=x, kernel_sizes=[2, 2], strides=[1, 1], pad_type="valid"),
                lambda x, i: np.sqrt((windows(x, 2) ** 2).sum((-1, -2)))),
    "reduce_l1_norm": (lambda x, i: mb.reduce_l1_norm(x=x, axes=[1, 3], keep_dims=True), None),
    "reduce_log_sum": (lambda x, i: mb.reduce_log_sum(x=mb.square(x=x), axes=[2], keep_dims=False), lambda x, i: np.log((x * x).sum(2))),
    "reduce_prod": (lambda x, i: mb.reduce_prod(x=x, axes=[2], keep_dims=False), None),
    "reduce_sum_square": (lambda x, i: mb.reduce_sum_square(x=x, axes=[-1], keep_dims=True), None),
    "depth_to_space": (lambda x, i: mb.depth_to_space(x=x, block_size=2),
                       lambda x, i: x.reshape(1, 2, 2, 1, 4, 6).transpose(0, 3, 4, 1, 5, 2).reshape(1, 1, 8, 12)),
    "space_to_depth": (lambda x, i: mb.space_to_depth(x=x, block_size=2),
                       lambda x, i: blocks(x, 2).transpose(0, 3, 5, 1, 2, 4).reshape(1, 16, 2, 3)),
    "space_to_batch": (lambda x, i: mb.space_to_batch(x=x, block_shape=[2, 2], paddings=np.zeros((2, 2), np.int32)),
                       lambda x, i: blocks(x, 2).transpose(3, 5, 0, 1, 2, 4).reshape(4, 4, 2, 3)),
    "batch_to_space": (lambda x, i: mb.batch_to_space(x=mb.transpose(x=x, perm=[1, 0, 2, 3]), block_shape=[2, 2],
                                                      crops=np.zeros((2, 2), np.int32)),
                       lambda x, i: x.transpose(1, 0, 2, 3).reshape(2, 2, 1, 1, 4, 6).transpose(2, 3, 4, 0, 5, 1).reshape(1, 1, 8, 12)),
    "flatten2d": (lambda x, i: mb.flatten2d(x=x, axis=2), None),
    "reshape_like": (lambda x, i: mb.reshape_like(x=x, ref_tensors=(x, x), begins=(0, 2), ends=(2, 4), end_masks=(False, False)),
                     lambda x, i: x),
    "reverse_sequence": (lambda x, i: mb.reverse_sequence(x=x, lengths=[1, 4, 3, 2], seq_axis=2, batch_axis=1),
                         lambda x, i: reversed_rows(x, [1, 4, 3, 2])),
    "sliding_windows": (lambda x, i: mb.sliding_windows(x=x, axis=3, size=3, stride=2),
                        lambda x, i: np.stack([x[..., s:s + 3] for s in (0, 2)], 3)),
    "slice_by_size": (lambda x, i: mb.slice_by_size(x=x, begin=[0, 1, 0, 2], size=[1, 2, -1, 3]), None),
    "slice_update": (lambda x, i: mb.slice_update(x=x, update=np.full((1, 2, 4, 6), 7, np.float32), begin=[0, 1, 0, 0], end=[1, 3, 4, 6]),
                     lambda x, i: np.concatenate([x[:, :1], np.full((1, 2, 4, 6), 7), x[:, 3:]], 1)),
    "fill": (lambda x, i: mb.add(x=mb.fill(shape=i, value=2.5), y=0.5), lambda x, i: np.full(tuple(i), 3.0)),
    "fill_like": (lambda x, i: mb.fill_like(ref_tensor=x, value=2.5), lambda x, i: np.full(x.shape, 2.5)),
    "range_1d": (lambda x, i: mb.range_1d(end=mb.reduce_sum(x=i, axes=[0], keep_dims=False), start=1, step=2),
                 lambda x, i: np.arange(1, i.sum(), 2)),
    "shape": (lambda x, i: mb.shape(x=mb.non_zero(x=i)), lambda x, i: np.array([3, 1])),
    "non_zero": (lambda x, i: mb.non_zero(x=i), lambda x, i: np.stack(np.nonzero(i), 1)),
    "resize": (lambda x, i: mb.resize(x=x, shape=[7, 9], resized_dims=np.uint32(2), interpolation_mode="LINEAR", sampling_mode="UNALIGN_CORNERS"),
               lambda x, i: sampled(x, grid(4, 7, "UNALIGN_CORNERS"), grid(6, 9, "UNALIGN_CORNERS"))),
    "resize_bilinear": (lambda x, i: mb.resize_bilinear(x=x, target_size_height=7, target_size_width=9, sampling_mode="OFFSET_CORNERS"),
                        lambda x, i: sampled(x, grid(4, 7, "OFFSET_CORNERS"), grid(6, 9, "OFFSET_CORNERS"))),
    "resize_nearest_neighbor": (lambda x, i: mb.resize_nearest_neighbor(x=x, target_size_height=8, target_size_width=12),
                                lambda x, i: x.repeat(2, 2).repeat(2, 3)),
    "crop_resize": (lambda x, i: mb.crop_resize(x=x, boxes=np.array([[0, 1, 2, 4]], np.float32), box_indices=np.array([0], np.int32),
                                                target_height=3, target_width=5, normalized_coordinates=False,
                                                box_coordinate_mode="CORNERS_HEIGHT_FIRST", sampling_mode="STRICT_ALIGN_CORNERS"),
                    lambda x, i: sampled(x, np.linspace(0, 2, 3), np.linspace(1, 4, 5))[None, 0]),
    "gru": (lambda x, i: mb.gru(x=mb.transpose(x=mb.squeeze(x=mb.slice_by_size(x=x, begin=[0, 0, 0, 0], size=[1, 1, 4, 6]), axes=[0]),
                                               perm=[1, 0, 2]), initial_h=np.zeros((1, 3), np.float32), weight_ih=W, weight_hh=R, bias=B)[1],
            lambda x, i: gru(x[0, 0][:, None], np.zeros((1, 3), np.float32), W, R, B)),
    "mod": (lambda x, i: mb.mod(x=x, y=np.float32(0.75)), None),
    "non_maximum_suppression": (
        lambda x, i: mb.non_maximum_suppression(boxes=BOXES[None], scores=mb.squeeze(x=mb.slice_by_size(x=x, begin=[0] * 4, size=[1, 1, 1, 6]),
                                                                                     axes=[1]), iou_threshold=0.5, max_boxes=5)[2],
        lambda x, i: suppressed(x[0, 0, 0], 0.5, 5)),
    "cond": (lambda x, i: mb.cond(pred=mb.greater(x=mb.reduce_max(x=i, axes=[0], keep_dims=False), y=2),
                                  _true_fn=lambda: mb.mul(x=x, y=2.0), _false_fn=lambda: mb.add(x=x, y=1.0)), lambda x, i: x * 2),
    "quantize": (lambda x, i: mb.cast(x=mb.quantize(input=x, zero_point=np.int8(3), scale=np.float32(0.25), output_dtype="int8"), dtype="int32"),
                 lambda x, i: np.clip(np.rint(x / 0.25) + 3, -128, 127)),
    "dequantize": (lambda x, i: mb.dequantize(input=mb.quantize(input=x, zero_point=np.int8(3), scale=np.float32(0.25), output_dtype="int8"),
                                              zero_point=np.int8(3), scale=np.float32(0.25)),
                   lambda x, i: (np.clip(np.rint(x / 0.25) + 3, -128, 127) - 3) * 0.25),
    "make_list": (lambda x, i: mb.list_read(ls=list_of(x), index=1), lambda x, i: x[0, 2]),
    "list_write": (lambda x, i: mb.list_gather(ls=list_of(x), indices=[1, 1]), lambda x, i: np.stack([x[0, 2]] * 2)),
    "list_read": (lambda x, i: mb.list_read(ls=scattered(x), index=3), lambda x, i: x[0, 0]),
    "list_gather": (lambda x, i: mb.list_gather(ls=scattered(x), indices=[1, 3]), lambda x, i: x[0, 1::-1]),
    "list_scatter": (lambda x, i: mb.list_read(ls=scattered(x), index=1), lambda x, i: x[0, 1]),
    "list_length": (lambda x, i: mb.add(x=mb.list_length(ls=list_of(x)), y=i), lambda x, i: i + 3),
    "constexpr_affine_dequantize": (
        constexpr(lambda: mb.constexpr_affine_dequantize(quantized_data=np.arange(6, dtype=np.uint8).reshape(2, 3), zero_point=np.uint8(2),
                                                         scale=np.array([0.5, 2], np.float32), axis=0)),
        plus_sum((np.arange(6).reshape(2, 3) - 2) * np.array([[0.5], [2]]))),
    "constexpr_blockwise_shift_scale": (
        constexpr(lambda: mb.constexpr_blockwise_shift_scale(data=np.arange(8, dtype=np.int8).reshape(2, 4),
                                                             scale=np.array([[1, 2], [3, 4]], np.float32),
                                                             offset=np.array([[1, 0], [2, 1]], np.int8))),
        plus_sum((np.arange(8).reshape(2, 4) - np.array([[1, 1, 0, 0], [2, 2, 1, 1]])) * np.array([[1, 1, 2, 2], [3, 3, 4, 4]]))),
    "constexpr_sparse_to_dense": (
        constexpr(lambda: mb.constexpr_sparse_to_dense(nonzero_data=np.array([1, 2, 3, 4], np.float32),
                                                       mask=SPARSE.astype(types.np_uint1_dtype))),
        plus_sum(np.array([[1, 0, 2], [0, 3, 4]]))),
    "constexpr_lut_to_dense": (
        constexpr(lambda: mb.constexpr_lut_to_dense(indices=np.array([[0, 3, 1], [2, 2, 0]], np.uint8).astype(types.np_uint2_dtype),
                                                    lut=np.array([10, 11, 12, 13], np.float32).reshape(1, 1, 4, 1))),
        plus_sum(np.array([[10, 13, 11], [12, 12, 10]]))),
}
OPERATIONS |= {
    "constexpr_lut_to_sparse": (
        constexpr(lambda: sparse(mb.constexpr_lut_to_sparse(indices_mask=SPARSE.astype(types.np_uint1_dtype),
                                                            indices_nonzero_data=np.array([0, 1, 1, 0], np.uint8).astype(types.np_uint1_dtype),
                                                            lut=np.array([5, 7], np.float32).reshape(1, 1, 2, 1)))),
        plus_sum(np.array([[5, 0, 7], [0, 7, 5]]))),
    "constexpr_sparse_blockwise_shift_scale": (
        constexpr(lambda: sparse(mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=SPARSE.astype(types.np_uint1_dtype), nonzero_data=np.array([1, 2, 3, 4], np.int8),
            scale=np.array([[2], [3]], np.float32), offset=np.array([[1], [0]], np.int8)))),
        plus_sum(np.array([[0, 0, 2], [0, 9, 12]]))),
}
# Random numbers have no formula: their mean and spread, and that a seed repeats them.
RANDOM = {
    "random_normal": (lambda: mb.random_normal(shape=[4000], mean=2.0, stddev=0.5, seed=7), 2.0, 0.5),
    "random_uniform": (lambda: mb.random_uniform(shape=[4000], low=1.0, high=4.0, seed=7), 2.5, 3 / 12 ** 0.5),
    "random_bernoulli": (lambda: mb.random_bernoulli(shape=[4000], prob=0.25, seed=7), 0.25, (0.25 * 0.75) ** 0.5),
    "random_categorical": (lambda: mb.random_categorical(x=np.log(np.array([[0.5, 0.25, 0.25]], np.float32)), mode="logits", size=4000, seed=7),
                           0.75, 0.6875 ** 0.5),
}


def covered():
    """Operations that these programs hold and check, and those of the states that test_run_steps keeps."""
    return set(OPERATIONS) | set(RANDOM) | {"read_state", "write_state"}


def infer(operation):
    """What coremltools computes of constants."""
    with Function({}, opset_version=ct.target.iOS18):
        return OPERATIONS[operation][0](mb.const(val=X), mb.const(val=I)).val


def package(folder, build, target=ct.target.iOS18):
    """The program whose outputs `build(x, i)` names, converted without optimisation."""
    @mb.program(input_specs=[mb.TensorSpec(shape=X.shape, dtype=types.fp32), mb.TensorSpec(shape=I.shape, dtype=types.int32)],
                opset_version=target)
    def program(x, i):
        return tuple(mb.identity(x=value, name=f"result_{name}") for name, value in build(x, i).items())

    model = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=target, compute_precision=ct.precision.FLOAT32,
                       pass_pipeline=ct.PassPipeline.EMPTY, skip_model_load=True)
    model.save(str(folder / "operations.mlpackage"))
    return folder / "operations.mlpackage", model.get_spec()
