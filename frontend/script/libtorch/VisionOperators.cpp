// Schemas as torchvision registers them (csrc/ops), and what its kernels compute, element by
// element. What they need of derivatives and other devices is left out.
#include "frontend/script/libtorch/VisionOperators.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <mutex>

namespace plait::frontend {
namespace {

using at::Tensor;
using Image = at::TensorAccessor<float, 2>;

/// Row-major, in fp32, as the accessors below take it.
Tensor plain(const Tensor &tensor) { return tensor.to(at::kFloat).contiguous(); }

Tensor nms(const Tensor &dets, const Tensor &scores, double threshold) {
  Tensor boxes = plain(dets);
  Tensor order = scores.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true);
  auto box = boxes.accessor<float, 2>();
  auto area = [&](int64_t i) { return (box[i][2] - box[i][0]) * (box[i][3] - box[i][1]); };
  auto overlap = [&](int64_t i, int64_t j) {
    float width = std::min(box[i][2], box[j][2]) - std::max(box[i][0], box[j][0]);
    float height = std::min(box[i][3], box[j][3]) - std::max(box[i][1], box[j][1]);
    float both = std::max(width, 0.0f) * std::max(height, 0.0f);
    return both / (area(i) + area(j) - both);
  };
  std::vector<int64_t> kept;
  for (int64_t place = 0; place < order.numel(); ++place) {
    int64_t next = order[place].item<int64_t>();
    if (std::none_of(kept.begin(), kept.end(),
                     [&](int64_t other) { return overlap(other, next) > threshold; }))
      kept.push_back(next);
  }
  return at::tensor(kept, at::kLong);
}

/// The map between its elements; the border up to one position outside, then 0.
float atBorder(const Image &map, float y, float x) {
  int64_t height = map.size(0), width = map.size(1);
  if (!(y >= -1 && y <= float(height) && x >= -1 && x <= float(width)))
    return 0;
  auto place = [](float at, int64_t size) { return std::clamp(at, 0.0f, float(size - 1)); };
  y = place(y, height), x = place(x, width);
  int64_t top = int64_t(y), left = int64_t(x);
  int64_t bottom = std::min(top + 1, height - 1), right = std::min(left + 1, width - 1);
  float down = y - float(top), across = x - float(left);
  float above = map[top][left] * (1 - across) + map[top][right] * across;
  float below = map[bottom][left] * (1 - across) + map[bottom][right] * across;
  return above * (1 - down) + below * down;
}

/// The map between its elements, and zeros around it.
float inZeros(const Image &map, float y, float x) {
  float sum = 0, top = std::floor(y), left = std::floor(x);
  for (int64_t i : {0, 1})
    for (int64_t j : {0, 1}) {
      float row = top + float(i), column = left + float(j);
      bool inside =
          row >= 0 && row < float(map.size(0)) && column >= 0 && column < float(map.size(1));
      if (inside)
        sum += map[int64_t(row)][int64_t(column)] * (1 - std::abs(y - row)) *
               (1 - std::abs(x - column));
    }
  return sum;
}

/// A bin of a region along one axis.
struct Extent {
  float begin, length; ///< of the region
  int64_t bins;
  float step() const { return length / float(bins); }
};

/// The mean of samples in one bin.
float sampledBin(const Image &map, const Extent &rows, const Extent &columns, int64_t i, int64_t j,
                 int64_t ratio) {
  int64_t down = ratio > 0 ? ratio : int64_t(std::ceil(rows.step()));
  int64_t across = ratio > 0 ? ratio : int64_t(std::ceil(columns.step()));
  float sum = 0;
  for (int64_t y = 0; y < down; ++y)
    for (int64_t x = 0; x < across; ++x)
      sum +=
          atBorder(map, rows.begin + (float(i) + (float(y) + 0.5f) / float(down)) * rows.step(),
                   columns.begin + (float(j) + (float(x) + 0.5f) / float(across)) * columns.step());
  return sum / float(std::max<int64_t>(down * across, 1));
}

/// Calls bin(region, its row, channel, i, j) for each element of the result.
template <typename Bin>
Tensor ofRegions(const Tensor &rois, int64_t channels, int64_t height, int64_t width, Bin bin) {
  Tensor regions = plain(rois);
  auto region = regions.accessor<float, 2>();
  Tensor result = at::zeros({rois.size(0), channels, height, width});
  auto y = result.accessor<float, 4>();
  for (int64_t n = 0; n < rois.size(0); ++n)
    for (int64_t channel = 0; channel < channels; ++channel)
      for (int64_t i = 0; i < height; ++i)
        for (int64_t j = 0; j < width; ++j)
          y[n][channel][i][j] = bin(region[n], channel, i, j);
  return result;
}

Tensor roiAlign(const Tensor &input, const Tensor &rois, double spatialScale, int64_t height,
                int64_t width, int64_t ratio, bool aligned) {
  Tensor maps = plain(input);
  auto map = maps.accessor<float, 4>();
  float scale = float(spatialScale), shift = aligned ? 0.5f : 0.0f;
  return ofRegions(rois, input.size(1), height, width,
                   [&](auto region, int64_t channel, int64_t i, int64_t j) {
                     auto extent = [&](int first, int64_t bins) {
                       float length = (region[first + 2] - region[first]) * scale;
                       return Extent{region[first] * scale - shift,
                                     aligned ? length : std::max(length, 1.0f), bins};
                     };
                     return sampledBin(map[int64_t(region[0])][channel], extent(2, height),
                                       extent(1, width), i, j, ratio);
                   })
      .to(input.scalar_type());
}

/// What a bin has of the map from `low` up to `high`; both within the map.
struct Window {
  int64_t low, high;
};
Window windowOf(float first, float last, float scale, int64_t more, int64_t bin, int64_t bins,
                int64_t limit) {
  int64_t begin = int64_t(std::round(first * scale)), end = int64_t(std::round(last * scale));
  float step = float(std::max<int64_t>(end - begin + more, 1)) / float(bins);
  auto within = [&](float at) { return std::clamp<int64_t>(int64_t(at) + begin, 0, limit); };
  return {within(std::floor(float(bin) * step)), within(std::ceil(float(bin + 1) * step))};
}

std::tuple<Tensor, Tensor> roiPool(const Tensor &input, const Tensor &rois, double scale,
                                   int64_t height, int64_t width) {
  Tensor maps = plain(input);
  auto map = maps.accessor<float, 4>();
  Tensor places =
      at::full({rois.size(0), input.size(1), height, width}, -1, at::TensorOptions(at::kInt));
  int *place = places.mutable_data_ptr<int>();
  Tensor result = ofRegions(
      rois, input.size(1), height, width, [&](auto region, int64_t channel, int64_t i, int64_t j) {
        auto one = map[int64_t(region[0])][channel];
        Window rows = windowOf(region[2], region[4], float(scale), 1, i, height, one.size(0));
        Window columns = windowOf(region[1], region[3], float(scale), 1, j, width, one.size(1));
        bool isEmpty = rows.high <= rows.low || columns.high <= columns.low;
        float most = isEmpty ? 0 : -std::numeric_limits<float>::max();
        for (int64_t y = rows.low; y < rows.high; ++y)
          for (int64_t x = columns.low; x < columns.high; ++x)
            if (one[y][x] > most)
              most = one[y][x], *place = int(y * one.size(1) + x);
        ++place;
        return most;
      });
  return {result.to(input.scalar_type()), places};
}

/// Of a pooling whose bins have channels of their own: the channel that each element is of.
Tensor mappingOf(const Tensor &input, const Tensor &rois, int64_t height, int64_t width) {
  return at::arange(input.size(1), at::kInt)
      .reshape({1, input.size(1) / (height * width), height, width})
      .repeat({rois.size(0), 1, 1, 1});
}

std::tuple<Tensor, Tensor> psRoiAlign(const Tensor &input, const Tensor &rois, double spatialScale,
                                      int64_t height, int64_t width, int64_t ratio) {
  Tensor maps = plain(input);
  auto map = maps.accessor<float, 4>();
  float scale = float(spatialScale);
  Tensor result =
      ofRegions(rois, input.size(1) / (height * width), height, width,
                [&](auto region, int64_t channel, int64_t i, int64_t j) {
                  auto extent = [&](int first, int64_t bins) {
                    return Extent{region[first] * scale - 0.5f,
                                  (region[first + 2] - region[first]) * scale, bins};
                  };
                  return sampledBin(map[int64_t(region[0])][(channel * height + i) * width + j],
                                    extent(2, height), extent(1, width), i, j, ratio);
                });
  return {result.to(input.scalar_type()), mappingOf(input, rois, height, width)};
}

std::tuple<Tensor, Tensor> psRoiPool(const Tensor &input, const Tensor &rois, double scale,
                                     int64_t height, int64_t width) {
  Tensor maps = plain(input);
  auto map = maps.accessor<float, 4>();
  Tensor result = ofRegions(
      rois, input.size(1) / (height * width), height, width,
      [&](auto region, int64_t channel, int64_t i, int64_t j) {
        auto one = map[int64_t(region[0])][(channel * height + i) * width + j];
        Window rows = windowOf(region[2], region[4], float(scale), 0, i, height, one.size(0) - 1);
        Window columns = windowOf(region[1], region[3], float(scale), 0, j, width, one.size(1) - 1);
        float sum = 0;
        for (int64_t y = rows.low; y < rows.high; ++y)
          for (int64_t x = columns.low; x < columns.high; ++x)
            sum += one[y][x];
        int64_t area = (rows.high - rows.low) * (columns.high - columns.low);
        return rows.high <= rows.low || columns.high <= columns.low ? 0.0f : sum / float(area);
      });
  return {result.to(input.scalar_type()), mappingOf(input, rois, height, width)};
}

Tensor deformConv2d(const Tensor &input, const Tensor &weight, const Tensor &offset,
                    const Tensor &mask, const Tensor &bias, int64_t strideH, int64_t strideW,
                    int64_t padH, int64_t padW, int64_t dilationH, int64_t dilationW,
                    int64_t groups, int64_t offsetGroups, bool useMask) {
  Tensor maps = plain(input), kernels = plain(weight), offsets = plain(offset), masks = plain(mask),
         result = at::zeros({input.size(0), weight.size(0), offset.size(2), offset.size(3)});
  auto map = maps.accessor<float, 4>(), kernel = kernels.accessor<float, 4>(),
       shift = offsets.accessor<float, 4>(), y = result.accessor<float, 4>();
  int64_t rows = weight.size(2), columns = weight.size(3);
  int64_t perGroup = weight.size(0) / groups, perOffsets = input.size(1) / offsetGroups;
  for (int64_t n = 0; n < y.size(0); ++n)
    for (int64_t out = 0; out < y.size(1); ++out)
      for (int64_t i = 0; i < y.size(2); ++i)
        for (int64_t j = 0; j < y.size(3); ++j)
          for (int64_t in = 0; in < kernel.size(1); ++in)
            for (int64_t tap = 0; tap < rows * columns; ++tap) {
              int64_t channel = out / perGroup * kernel.size(1) + in;
              int64_t own = channel / perOffsets * rows * columns + tap;
              float row =
                  float(i * strideH - padH + tap / columns * dilationH) + shift[n][2 * own][i][j];
              float column = float(j * strideW - padW + tap % columns * dilationW) +
                             shift[n][2 * own + 1][i][j];
              float taken = inZeros(map[n][channel], row, column);
              if (useMask)
                taken *= masks.accessor<float, 4>()[n][own][i][j];
              y[n][out][i][j] += taken * kernel[out][in][tap / columns][tap % columns];
            }
  return (result + plain(bias).reshape({1, -1, 1, 1})).to(input.scalar_type());
}

} // namespace

void declareVisionOperators() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (c10::Dispatcher::singleton().findSchema({"torchvision::nms", ""}))
      return;
    // Declared as long as the process is there: models that were read refer to them.
    static auto &library = *new torch::Library(torch::Library::FRAGMENT, "torchvision",
                                               std::nullopt, __FILE__, __LINE__);
    const char *pooled = "(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int "
                         "pooled_width) -> (Tensor, Tensor)";
    library.def("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor");
    library.def("roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int "
                "pooled_width, int sampling_ratio, bool aligned) -> Tensor");
    library.def((std::string("roi_pool") + pooled).c_str());
    library.def((std::string("ps_roi_pool") + pooled).c_str());
    library.def("ps_roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, "
                "int pooled_width, int sampling_ratio) -> (Tensor, Tensor)");
    library.def("deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor "
                "bias, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int "
                "dilation_w, int groups, int offset_groups, bool use_mask) -> Tensor");
    auto cpu = c10::DispatchKey::CPU;
    library.impl("nms", torch::dispatch(cpu, TORCH_FN(nms)));
    library.impl("roi_align", torch::dispatch(cpu, TORCH_FN(roiAlign)));
    library.impl("roi_pool", torch::dispatch(cpu, TORCH_FN(roiPool)));
    library.impl("ps_roi_align", torch::dispatch(cpu, TORCH_FN(psRoiAlign)));
    library.impl("ps_roi_pool", torch::dispatch(cpu, TORCH_FN(psRoiPool)));
    library.impl("deform_conv2d", torch::dispatch(cpu, TORCH_FN(deformConv2d)));
  });
}

bool lacksVisionOperator(llvm::StringRef message) {
  return message.contains("torchvision::") || message.contains("ops.torchvision");
}

} // namespace plait::frontend
