"""Packed sequences with lengths that are only known at run time.

What PackedSequence holds is what the mask of a batch's lengths selects of the padded sequences, time first: so it stays a selection
(selections.py). The time axis keeps the length that the padded input has, also where every sequence is shorter.
"""

from typing import List, Tuple

import torch
from torch import Tensor


# aten::_pack_padded_sequence
def pack_padded_sequence(self, x: Tensor, lengths: Tensor, batch_first: bool) -> Tuple[Tensor, Tensor]:
    if batch_first:
        x = x.transpose(0, 1)
    mask = torch.arange(x.size(0)).unsqueeze(1) < lengths.unsqueeze(0)
    return torch.index(x, [mask]), mask.sum([1])


# selected aten::_pad_packed_sequence
def pad_packed_sequence(self, x: Tensor, mask: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: number,
                        total_length: int) -> Tuple[Tensor, Tensor]:
    if total_length > 0 and total_length != x.size(0):
        raise AssertionError("total_length is " + str(total_length) + " for sequences that were padded to " + str(x.size(0))
                           + "; give them that length before they are packed")
    result = torch.where(self.over(x, mask), x, torch.full_like(x, padding_value))
    return result.transpose(0, 1) if batch_first else result, mask.sum([0])


# The time steps of each sequence backwards; what is beyond its end stays there.
def backwards(self, x: Tensor, lengths: Tensor) -> Tensor:
    time = torch.arange(x.size(0)).unsqueeze(1)
    place = torch.where(time < lengths, lengths - 1 - time, time)
    return torch.gather(x, 0, place.unsqueeze(2).expand(x.shape))


# What stands at each sequence's last step.
def at_end(self, x: Tensor, lengths: Tensor) -> Tensor:
    place = (lengths - 1).reshape([1, -1, 1]).expand([1, x.size(1), x.size(2)])
    return torch.gather(x, 0, place).squeeze(0)


# selected aten::lstm.data
# A further input is 1 beyond the end of a sequence, where it opens the forget gate and shuts the input gate: the cell keeps what it
# holds until the last step.
def packed_lstm(self, x: Tensor, mask: Tensor, batch_sizes: Tensor, hx: List[Tensor], params: List[Tensor], has_biases: bool,
                num_layers: int, dropout: float, train: bool, bidirectional: bool) -> Tuple[Tensor, Tensor, Tensor]:
    lengths = mask.sum([0])
    batch = x.size(1)
    beyond = torch.logical_not(mask).to(x.dtype).unsqueeze(2)
    directions = 2 if bidirectional else 1
    each = len(params) // (num_layers * directions)
    hidden: List[Tensor] = []
    cells: List[Tensor] = []
    for layer in range(num_layers):
        outputs: List[Tensor] = []
        for direction in range(directions):
            place = layer * directions + direction
            weights = params[place * each:(place + 1) * each]
            size = weights[0].size(0) // 4
            h = hx[0].narrow(0, place, 1).reshape([1, batch, -1])
            c = hx[1].narrow(0, place, 1).reshape([1, batch, size])
            gates = torch.cat([torch.full([size, 1], -100.0), torch.full([size, 1], 100.0), torch.zeros([2 * size, 1])], 0)
            weights[0] = torch.cat([weights[0], gates], 1)
            sequence = torch.cat([self.backwards(x, lengths) if direction == 1 else x, beyond], 2)
            output, last, cell = torch.lstm(sequence, [h, c], weights, has_biases, 1, 0.0, False, False, False)
            hidden.append(self.at_end(output, lengths))
            cells.append(cell.squeeze(0))
            outputs.append(self.backwards(output, lengths) if direction == 1 else output)
        x = torch.cat(outputs, 2)
    return torch.index(x, [mask]), torch.stack(hidden, 0), torch.stack(cells, 0)


# One of the kinds without a cell: 0 GRU, 1 RNN with tanh, 2 RNN with relu.
def packed_simple(self, x: Tensor, mask: Tensor, hx: Tensor, params: List[Tensor], has_biases: bool, num_layers: int, bidirectional: bool,
                  kind: int) -> Tuple[Tensor, Tensor]:
    lengths = mask.sum([0])
    batch = x.size(1)
    directions = 2 if bidirectional else 1
    each = 4 if has_biases else 2
    hidden: List[Tensor] = []
    for layer in range(num_layers):
        outputs: List[Tensor] = []
        for direction in range(directions):
            place = layer * directions + direction
            weights = params[place * each:(place + 1) * each]
            h = hx.narrow(0, place, 1).reshape([1, batch, weights[1].size(1)])
            sequence = self.backwards(x, lengths) if direction == 1 else x
            if kind == 0:
                output, last = torch.gru(sequence, h, weights, has_biases, 1, 0.0, False, False, False)
            elif kind == 1:
                output, last = torch.rnn_tanh(sequence, h, weights, has_biases, 1, 0.0, False, False, False)
            else:
                output, last = torch.rnn_relu(sequence, h, weights, has_biases, 1, 0.0, False, False, False)
            hidden.append(self.at_end(output, lengths))
            outputs.append(self.backwards(output, lengths) if direction == 1 else output)
        x = torch.cat(outputs, 2)
    return torch.index(x, [mask]), torch.stack(hidden, 0)


# selected aten::gru.data
def packed_gru(self, x: Tensor, mask: Tensor, batch_sizes: Tensor, hx: Tensor, params: List[Tensor], has_biases: bool, num_layers: int,
               dropout: float, train: bool, bidirectional: bool) -> Tuple[Tensor, Tensor]:
    return self.packed_simple(x, mask, hx, params, has_biases, num_layers, bidirectional, 0)


# selected aten::rnn_tanh.data
def packed_rnn_tanh(self, x: Tensor, mask: Tensor, batch_sizes: Tensor, hx: Tensor, params: List[Tensor], has_biases: bool, num_layers: int,
                    dropout: float, train: bool, bidirectional: bool) -> Tuple[Tensor, Tensor]:
    return self.packed_simple(x, mask, hx, params, has_biases, num_layers, bidirectional, 1)


# selected aten::rnn_relu.data
def packed_rnn_relu(self, x: Tensor, mask: Tensor, batch_sizes: Tensor, hx: Tensor, params: List[Tensor], has_biases: bool, num_layers: int,
                    dropout: float, train: bool, bidirectional: bool) -> Tuple[Tensor, Tensor]:
    return self.packed_simple(x, mask, hx, params, has_biases, num_layers, bidirectional, 2)
