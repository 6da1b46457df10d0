"""constexpr_* operations of coremltools' packages: every element type, packed and padded, read, computed and written again as
coremltools has them."""

import collections
import logging
import warnings

warnings.filterwarnings("ignore")

import coremltools as ct
import numpy as np
import pytest
from command import succeed
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.frontend.milproto import load
from coremltools.converters.mil.mil import types
from coremltools.optimize._utils import lut_to_dense
from weight_files import blobs

logging.disable(logging.ERROR)

WIDTHS = {1: types.np_uint1_dtype, 2: types.np_uint2_dtype, 3: types.np_uint3_dtype, 4: types.np_uint4_dtype, 6: types.np_uint6_dtype,
          8: np.uint8}
INTEGERS = {"int4": (types.np_int4_dtype, -8, 8), "uint4": (types.np_uint4_dtype, 0, 16), "int8": (np.int8, -128, 128),
            "uint8": (np.uint8, 0, 256)}
RNG = np.random.default_rng(0)


def halves(*shape):
    return RNG.standard_normal(shape).astype(np.float16)


def integers(kind, shape):
    dtype, low, high = INTEGERS[kind]
    return RNG.integers(low, high, shape).astype(np.int8 if low else np.uint8).astype(dtype)


def indices(bits, shape):
    return RNG.integers(0, 1 << bits, shape).astype(np.uint8).astype(WIDTHS[bits])


def masked(shape):
    mask = RNG.random(shape) < 0.6
    mask.flat[0] = True
    return mask.astype(np.uint8).astype(types.np_uint1_dtype), int(mask.sum())


def decompressed(op):
    """The weight, as coremltools computes it."""
    if op.op_type == "constexpr_lut_to_dense" and op.lut.val is None:  # its own inference takes tables that are no constants for none
        return lut_to_dense(op.indices.val, op.lut.op.materialized_val_inference(), None)
    return op.materialized_val_inference()


def dense(pair):
    mask, data = pair
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask)


def cases():
    """{name: a weight}. Shapes have odd numbers of elements, so that the last byte of packed ones is padded."""
    result = {}
    for kind in INTEGERS:
        # int4 and uint4 of 65 numbers fill half of their last byte.
        result[f"channel_{kind}"] = lambda kind=kind: mb.constexpr_blockwise_shift_scale(data=integers(kind, (13, 5)), scale=halves(13, 1))
        result[f"offset_{kind}"] = lambda kind=kind: mb.constexpr_blockwise_shift_scale(
            data=integers(kind, (5, 3, 7)), scale=halves(5, 1, 1), offset=integers(kind, (5, 1, 1)))
        result[f"block_{kind}"] = lambda kind=kind: mb.constexpr_blockwise_shift_scale(
            data=integers(kind, (3, 10, 1, 1)), scale=halves(3, 2, 1, 1), offset=integers(kind, (3, 2, 1, 1)))
        result[f"tiny_{kind}"] = lambda kind=kind: mb.constexpr_blockwise_shift_scale(data=integers(kind, (3, 3)), scale=halves(1, 1))

        def sparse(kind=kind):
            mask, ones = masked((7, 6))
            return dense(mb.constexpr_sparse_blockwise_shift_scale(data_mask=mask, nonzero_data=integers(kind, (ones,)), scale=halves(7, 2),
                                                                   offset=integers(kind, (7, 2))))

        result[f"sparse_{kind}"] = sparse
    for bits in WIDTHS:
        result[f"tensor_{bits}"] = lambda bits=bits: mb.constexpr_lut_to_dense(indices=indices(bits, (11, 7)), lut=halves(1, 1, 1 << bits, 1))
        result[f"groups_{bits}"] = lambda bits=bits: mb.constexpr_lut_to_dense(indices=indices(bits, (6, 3, 3)), lut=halves(2, 1, 1, 1 << bits, 1))
        result[f"grid_{bits}"] = lambda bits=bits: mb.constexpr_lut_to_dense(indices=indices(bits, (4, 9)), lut=halves(2, 3, 1 << bits, 1))
        result[f"vector_{bits}"] = lambda bits=bits: mb.constexpr_lut_to_dense(
            indices=indices(bits, (5, 3)), lut=halves(1, 1, 1 << bits, 4), vector_axis=bits % 2)
        result[f"table_{bits}"] = lambda bits=bits: mb.constexpr_lut_to_dense(
            indices=indices(bits, (5, 5)), lut=mb.constexpr_blockwise_shift_scale(data=integers("int8", (5, 1, 1 << bits, 1)), scale=halves(5, 1, 1, 1)))

        def palette(bits=bits):
            mask, ones = masked((6, 9))
            return dense(mb.constexpr_lut_to_sparse(indices_mask=mask, indices_nonzero_data=indices(bits, (ones,)), lut=halves(3, 1, 1 << bits, 1)))

        result[f"pruned_{bits}"] = palette

    def pruned():
        mask, ones = masked((5, 13))
        return mb.constexpr_sparse_to_dense(nonzero_data=halves(ones), mask=mask)

    result["pruned"] = pruned
    return result


CASES = cases()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """(the package, {name: what coremltools computes})."""
    folder, expected = tmp_path_factory.mktemp("constexpr"), {}

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,), dtype=types.fp16)], opset_version=ct.target.iOS18)
    def program(x):
        results = []
        for name, make in CASES.items():
            weight = make()
            expected[name] = decompressed(weight.op)
            results.append(mb.add(x=weight, y=x, name=name))
        return tuple(results)

    model = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT16,
                       pass_pipeline=ct.PassPipeline.EMPTY, skip_model_load=True,
                       outputs=[ct.TensorType(name=name, dtype=np.float16) for name in CASES])
    model.save(str(folder / "peer.mlpackage"))
    np.save(folder / "x.npy", np.zeros(1, np.float16))
    return folder / "peer.mlpackage", expected


@pytest.fixture(scope="module")
def results(package):
    path, _ = package
    succeed("run", path, "--input", f"x={path.parent}/x.npy", "--output-dir", path.parent / "out")
    return {file.stem: np.load(file) for file in (path.parent / "out").glob("*.npy")}


@pytest.mark.parametrize("name", CASES)
def test_numbers(name, package, results):
    np.testing.assert_array_equal(results[name].astype(np.float16), package[1][name].astype(np.float16))


def test_bytes(package, tmp_path):
    """What plait writes of them is what it read: types, packed bytes and their padding."""
    path, _ = package
    succeed("merge", "-o", tmp_path / "ours.mlpackage", f"main={path}")
    assert blobs(tmp_path / "ours.mlpackage") == blobs(path)
    codes = collections.Counter(code for code, _, _, _ in blobs(path))
    assert {1, 3, 4, 8, 9, 10, 11, 12, 13} <= set(codes)  # every width is there
    assert any(padding for _, padding, _, _ in blobs(path))


def test_coremltools_reads_ours(package, tmp_path):
    """The peer's loader on plait's bytes gives the peer's numbers."""
    path, expected = package
    succeed("merge", "-o", tmp_path / "ours.mlpackage", f"main={path}")
    ours = ct.models.MLModel(str(tmp_path / "ours.mlpackage"), skip_model_load=True)
    program = load.load(ours.get_spec(), specification_version=9, file_weights_dir=ours.weights_dir)
    sums = [op for op in program.functions["main"].operations if op.op_type == "add"]
    assert len(sums) == len(CASES)
    for op in sums:
        np.testing.assert_array_equal(decompressed(op.x.op), expected[op.name])
