"""Conversions by coremltools and their runs by plait, in processes beside each other: what test_peer_packages asks for."""

import concurrent.futures
import logging
import multiprocessing
import os
import tempfile
import warnings

import numpy as np



def _quiet():
    warnings.filterwarnings("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    import coremltools  # noqa: F401  (its loggers exist from here on)
    import torch
    logging.disable(logging.ERROR)  # coremltools reports every pass
    torch.set_num_threads(1)


def operations(block):
    """Kinds of the operations of a block of the package, nested ones too."""
    kinds = set()
    for operation in block.operations:
        kinds.add(operation.type)
        for inner in operation.blocks:
            kinds |= operations(inner)
    return kinds


def convert_and_run(name, precision):
    """(what plait computes, what PyTorch computes, kinds of operations in the package)."""
    import coremltools as ct
    import peer_models
    import torch
    from command import succeed

    model, inputs = peer_models.build(name)
    declared = [ct.TensorType(name=f"in{k}", shape=tuple(value.shape), dtype=np.int32 if value.dtype == torch.int32 else np.float32)
                for k, value in enumerate(inputs)]
    with tempfile.TemporaryDirectory() as folder:
        converted = ct.convert(model, inputs=declared, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18,
                               compute_precision=getattr(ct.precision, precision), skip_model_load=True)
        converted.save(f"{folder}/model.mlpackage")
        main = converted.get_spec().mlProgram.functions["main"]
        arrays = []
        for k, value in enumerate(inputs):
            np.save(f"{folder}/in{k}.npy", value.numpy())
            arrays += ["--input", f"in{k}={folder}/in{k}.npy"]
        succeed("run", f"{folder}/model.mlpackage", *arrays, "--output-dir", f"{folder}/out")
        file, = os.listdir(f"{folder}/out")
        actual = np.load(f"{folder}/out/{file}")
    with torch.no_grad():
        expected = model(*inputs).detach().numpy()
    return actual, expected, operations(main.block_specializations[main.opset])


class Runs:
    """Results by (case, precision). All are begun when the first is asked for."""

    def __init__(self, wanted):
        self.wanted, self.executor, self.futures = wanted, None, {}

    def __getitem__(self, key):
        if self.executor is None:
            self.executor = concurrent.futures.ProcessPoolExecutor(
                min(2, os.cpu_count() or 1), multiprocessing.get_context("spawn"), initializer=_quiet)
            self.futures = {wanted: self.executor.submit(convert_and_run, *wanted) for wanted in self.wanted}
        if key not in self.futures:
            self.futures[key] = self.executor.submit(convert_and_run, *key)
        return self.futures[key].result(timeout=600)

    def close(self):
        if self.executor:
            self.executor.shutdown(cancel_futures=True)
