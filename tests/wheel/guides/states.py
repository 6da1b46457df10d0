"""coremltools' guide on stateful models, with one import changed: an accumulator, and attention with a KV cache of open length."""

import numpy as np
import torch

import plait.coremltools as ct


# An accumulator.
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("accumulator", torch.tensor(np.array([0], dtype=np.float16)))

    def forward(self, x):
        self.accumulator += x
        return self.accumulator * self.accumulator


traced_model = torch.jit.trace(Model().eval(), torch.tensor([1]))
traced_model.accumulator.zero_()
mlmodel = ct.convert(
    traced_model,
    inputs=[ct.TensorType(shape=(1,), name="x")],
    outputs=[ct.TensorType(name="y")],
    states=[
        ct.StateType(
            wrapped_type=ct.TensorType(shape=(1,)),
            name="accumulator",
        ),
    ],
    minimum_deployment_target=ct.target.iOS18,
)

state1 = mlmodel.make_state()
assert mlmodel.predict({"x": np.array([2.0])}, state=state1)["y"] == 4
assert mlmodel.predict({"x": np.array([5.0])}, state=state1)["y"] == 49
assert mlmodel.predict({"x": np.array([-1.0])}, state=state1)["y"] == 36

state2 = mlmodel.make_state()
assert mlmodel.predict({"x": np.array([9.0])}, state=state2)["y"] == 81
assert mlmodel.predict({"x": np.array([2.0])}, state=state2)["y"] == 121

assert mlmodel.predict({"x": np.array([3.0])}, state=state1)["y"] == 81
state1.write_state("accumulator", np.array([1.0]))
assert state1.read_state("accumulator") == 1
assert mlmodel.predict({"x": np.array([2.0])}, state=state1)["y"] == 9


# Attention that keeps its keys and values.
class SimpleAttentionWithKeyValueCache(torch.nn.Module):
    def __init__(self, embed_size, batch_size, max_seq_len):
        super().__init__()
        self.query = torch.nn.Linear(embed_size, embed_size)
        self.key = torch.nn.Linear(embed_size, embed_size)
        self.value = torch.nn.Linear(embed_size, embed_size)
        self.kv_cache_shape = (batch_size, max_seq_len, embed_size)
        self.register_buffer("k_cache", torch.zeros(self.kv_cache_shape))
        self.register_buffer("v_cache", torch.zeros(self.kv_cache_shape))

    def forward(self, embedding, attention_mask):
        query = self.query(embedding)
        key = self.key(embedding)
        value = self.value(embedding)
        # the place of the new tokens follows from the shapes
        query_len = embedding.shape[-2]
        end_step = attention_mask.shape[-1]
        past_kv_len = end_step - query_len
        self.k_cache[:, past_kv_len:end_step, :] = key
        self.v_cache[:, past_kv_len:end_step, :] = value
        key = self.k_cache[:, :end_step, :]
        value = self.v_cache[:, :end_step, :]
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)


class ToyModelWithKeyValueCache(torch.nn.Module):
    def __init__(self, vocab_size, embed_size, batch_size, max_seq_len):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab_size, embed_size)
        self.attention = SimpleAttentionWithKeyValueCache(embed_size, batch_size, max_seq_len)
        self.fc = torch.nn.Linear(embed_size, embed_size)

    def forward(self, input_ids, causal_mask):
        embedding = self.embedding(input_ids)
        attention_output = self.attention(embedding, causal_mask)
        return self.fc(attention_output)


batch_size, seq_len, embed_size, vocab_size, max_seq_len = 1, 5, 32, 1000, 32
torch_model = ToyModelWithKeyValueCache(vocab_size, embed_size, batch_size, max_seq_len).eval()
input_ids = torch.randint(0, vocab_size, (batch_size, seq_len))
causal_mask = torch.zeros((batch_size, seq_len, seq_len))
traced_model = torch.jit.trace(torch_model, [input_ids, causal_mask])

query_length = ct.RangeDim(lower_bound=1, upper_bound=max_seq_len, default=1)
end_step_dim = ct.RangeDim(lower_bound=1, upper_bound=max_seq_len, default=1)
inputs = [
    ct.TensorType(shape=(batch_size, query_length), dtype=np.int32, name="input_ids"),
    ct.TensorType(shape=(batch_size, query_length, end_step_dim), dtype=np.float16, name="causal_mask"),
]
outputs = [ct.TensorType(dtype=np.float16, name="output")]
cache_shape = torch_model.attention.kv_cache_shape
states = [
    ct.StateType(wrapped_type=ct.TensorType(shape=cache_shape, dtype=np.float16), name="attention.k_cache"),
    ct.StateType(wrapped_type=ct.TensorType(shape=cache_shape, dtype=np.float16), name="attention.v_cache"),
]
for name, buffer in traced_model.named_buffers():
    buffer.zero_()
converted_model = ct.convert(
    traced_model,
    inputs=inputs,
    outputs=outputs,
    states=states,
    minimum_deployment_target=ct.target.iOS18,
    compute_units=ct.ComputeUnit.CPU_AND_GPU,
)

# A prompt of three tokens, then one token at a time.
cache = converted_model.make_state()
tokens = np.array([[5, 17, 99, 3, 42]], dtype=np.int32)
for begin, end in ((0, 3), (3, 4), (4, 5)):
    mask = np.triu(np.full((1, end - begin, end), -1e4, dtype=np.float16), k=begin + 1)
    ours = converted_model.predict({"input_ids": tokens[:, begin:end], "causal_mask": mask}, state=cache)["output"]
    with torch.no_grad():
        theirs = torch_model(torch.tensor(tokens[:, begin:end]), torch.tensor(mask).float()).numpy()
    assert np.abs(ours - theirs).max() < 1e-2, np.abs(ours - theirs).max()
