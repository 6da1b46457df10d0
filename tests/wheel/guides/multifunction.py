"""coremltools' guide on multifunction models, with one import changed: two LoRA adaptations of one base become one package."""

import copy

import numpy as np
import torch
import torch.nn as nn
from peft import LoraConfig, get_peft_model

import plait.coremltools as ct

SIZE = 6000


class Base(nn.Module):
    def __init__(self):
        super(Base, self).__init__()
        self.linear1 = nn.Linear(SIZE, SIZE)
        self.relu = nn.ReLU()
        self.linear2 = nn.Linear(SIZE, SIZE)

    def forward(self, x):
        x = self.linear1(x)
        x = self.relu(x)
        x = self.linear2(x)
        return x


base_model = Base()

# adapt the base model twice
config_1 = LoraConfig(target_modules=["linear1", "linear2"], r=32, lora_alpha=1)
adapted_model_1 = get_peft_model(copy.deepcopy(base_model), config_1)
config_2 = LoraConfig(target_modules=["linear1", "linear2"], r=32, lora_alpha=1)
adapted_model_2 = get_peft_model(copy.deepcopy(base_model), config_2)

# convert the first adaptation
traced_model_1 = torch.jit.trace(adapted_model_1.eval(), torch.rand(1, SIZE))
mlmodel_1 = ct.convert(
    traced_model_1,
    inputs=[ct.TensorType(name="input_adapted_model_1", shape=(1, SIZE))],
    outputs=[ct.TensorType(name="out_adapted_model_1")],
    minimum_deployment_target=ct.target.iOS18,
)
mlmodel_1.save("adapted_model_1.mlpackage")

# convert the second
traced_model_2 = torch.jit.trace(adapted_model_2.eval(), torch.rand(1, SIZE))
mlmodel_2 = ct.convert(
    traced_model_2,
    inputs=[ct.TensorType(name="input_adapted_model_2", shape=(1, SIZE))],
    outputs=[ct.TensorType(name="out_adapted_model_2")],
    minimum_deployment_target=ct.target.iOS18,
)
mlmodel_2.save("adapted_model_2.mlpackage")

# merge them
desc = ct.utils.MultiFunctionDescriptor()
desc.add_function("adapted_model_1.mlpackage", src_function_name="main", target_function_name="adapter_1")
desc.add_function("adapted_model_2.mlpackage", src_function_name="main", target_function_name="adapter_2")
desc.default_function_name = "adapter_1"
ct.utils.save_multifunction(desc, "combined_adapter_models.mlpackage")

# predict by the name of the function
mlmodel_1 = ct.models.MLModel("combined_adapter_models.mlpackage")
mlmodel_2 = ct.models.MLModel("combined_adapter_models.mlpackage", function_name="adapter_2")
x = np.random.rand(1, SIZE)
y_1 = mlmodel_1.predict({"input_adapted_model_1": x})
y_2 = mlmodel_2.predict({"input_adapted_model_2": x})

with torch.no_grad():
    for y, model in ((y_1["out_adapted_model_1"], adapted_model_1), (y_2["out_adapted_model_2"], adapted_model_2)):
        expected = model(torch.tensor(x, dtype=torch.float32)).numpy()
        assert np.abs(y - expected).max() < 1e-2, np.abs(y - expected).max()
spec = ct.utils.load_spec("combined_adapter_models.mlpackage")
assert [function.name for function in spec.description.functions] == ["adapter_1", "adapter_2"]
assert spec.description.defaultFunctionName == "adapter_1"
