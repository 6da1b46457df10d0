// The rest of the schemas of image operations: aliases, overloads, defaults given and left out.
#include "tests/frontend/lower/LowerCheck.h"

namespace plait::frontend {

TEST(ImageSchemas, Convolution2d) {
  checkAll({"torch.conv2d(x, y)", "torch.conv2d(x, y, z)", "torch.conv2d(x, y, z, 2)",
            "torch.conv2d(x, y, None, 1, 'same')", "torch.conv2d(x, y, z, 1, 'valid')",
            "torch.conv2d(x[0], y, z, 1, 1)",
            "torch.conv2d(x, torch.ones(8, 2, 3, 3) * 0.1, None, 1, 1, 1, 2)",
            "torch.conv2d(x, torch.ones(4, 1, 3, 3) * 0.1, None, 1, 1, 1, 4)",
            "torch._convolution_mode(x, y, z, [1, 1], 'same', [1, 1], 1)",
            "torch._convolution(x, y, z, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, False, False, "
            "True, True)",
            "torch._convolution(x, w, None, [2, 2], [1, 1], [1, 1], True, [1, 1], 1, False, False, "
            "True, True)",
            "torch.convolution(x, y, z, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)",
            "torch.conv_transpose2d(x, w)", "torch.conv_transpose2d(x, w, None, 2, 1, 1)",
            "torch.conv_transpose2d(x, w, None, [2, 3], [1, 0], [1, 2], 1, [1, 2])",
            "torch.conv_transpose2d(x, torch.ones(4, 3, 3, 3) * 0.1, None, 2, 1, 1, 2)",
            "torch.conv_transpose2d(x[0], w, None, 2)",
            "torch.conv_transpose2d(x, w, z[:2], 1, 0, 0, 1, 2)"},
           {randn({2, 4, 9, 8}), randn({6, 4, 3, 3}), randn({6}), randn({4, 2, 3, 3})});
}

TEST(ImageSchemas, Convolution1dAnd3d) {
  checkAll({"torch.conv1d(x, y)", "torch.conv1d(x, y, None, 1, 'same')", "torch.conv1d(x[0], y)",
            "torch.conv1d(x, torch.ones(4, 1, 4), None, 1, 'same', 1, 4)",
            "torch.conv_transpose1d(x, z)", "torch.conv_transpose1d(x, z, torch.ones(2), 2, 1, 1)",
            "torch.conv_transpose1d(x[0], z, None, 3)", "torch.conv3d(w, u)",
            "torch.conv3d(w, u, torch.ones(3), 2, 1)", "torch.conv3d(w, u, None, 1, 'same')",
            "torch.conv3d(w, torch.ones(4, 1, 2, 2, 2), None, 1, 0, 1, 2)",
            "torch.conv_transpose3d(w, v)", "torch.conv_transpose3d(w, v, torch.ones(3), 2, 1, 1)"},
           {randn({2, 4, 9}), randn({6, 4, 3}), randn({4, 2, 3}), randn({1, 2, 5, 6, 5}),
            randn({3, 2, 3, 3, 3}), randn({2, 3, 3, 3, 3})});
}

TEST(ImageSchemas, Pooling) {
  checkAll({"torch.max_pool2d(x, 2)",
            "torch.max_pool2d(x, 3, 2, 1)",
            "torch.max_pool2d(x, [3, 2], [2, 1], [1, 0], [1, 2])",
            "torch.max_pool2d(x, 3, 2, 0, 1, True)",
            "torch.max_pool2d(x, 3, 2, 1, 1, True)",
            "torch.max_pool2d(x, 2, 3, 1, 2, True)",
            "torch.max_pool2d(x[0], 2)",
            "torch.max_pool2d_with_indices(x, [2, 2])[0]",
            "torch.max_pool1d(y, 2)",
            "torch.max_pool1d(y, 3, 2, 1, 1, True)",
            "torch.max_pool1d(y, 3, 2, 1, 2)",
            "torch.max_pool1d_with_indices(y, 2)[0]",
            "torch.max_pool3d(z, 2)",
            "torch.max_pool3d(z, 3, 2, 1, 1, True)",
            "torch.max_pool3d_with_indices(z, [2, 2, 2])[0]",
            "torch.avg_pool2d(x, 2)",
            "torch.avg_pool2d(x, 3, 2, 1)",
            "torch.avg_pool2d(x, 3, 2, 1, False, False)",
            "torch.avg_pool2d(x, 3, 2, 1, True)",
            "torch.avg_pool2d(x, 3, 2, 1, True, False)",
            "torch.avg_pool2d(x, 3, 2, 0, True, True)",
            "torch.avg_pool2d(x, [3, 2], [1, 2], [1, 0], False, True, 5)",
            "torch.avg_pool2d(x[0], 2)",
            "torch.avg_pool1d(y, 3)",
            "torch.avg_pool1d(y, 3, 2, 1, True, False)",
            "torch.avg_pool1d(y, 3, 2, 1, True, True)",
            "torch.avg_pool3d(z, 2)",
            "torch.avg_pool3d(z, 3, 2, 1, True, False)",
            "torch.avg_pool3d(z, 3, 2, 1, True, True)",
            "torch.avg_pool3d(z, 2, 2, 0, False, True, 3)"},
           {randn({2, 3, 9, 8}), randn({2, 3, 11}), randn({1, 2, 6, 7, 6})});
}

TEST(ImageSchemas, AdaptivePooling) {
  checkAll({"torch.adaptive_avg_pool2d(x, 1)", "torch.adaptive_avg_pool2d(x, [3, 4])",
            "torch.adaptive_avg_pool2d(x, [4, 5])", "torch.adaptive_avg_pool2d(x, [9, 8])",
            "torch.adaptive_avg_pool2d(x[0], [3, 2])", "torch.adaptive_avg_pool2d(x, [12, 3])",
            "torch.adaptive_max_pool2d(x, [1, 1])[0]", "torch.adaptive_max_pool2d(x, [4, 5])[0]",
            "torch.adaptive_avg_pool1d(y, 1)", "torch.adaptive_avg_pool1d(y, 5)",
            "torch.adaptive_avg_pool1d(y, 4)", "torch.adaptive_max_pool1d(y, 5)[0]",
            "torch.adaptive_avg_pool3d(z, 1)", "torch.adaptive_avg_pool3d(z, [3, 4, 2])",
            "torch.adaptive_avg_pool3d(z, [4, 3, 3])", "torch.adaptive_max_pool3d(z, [2, 2, 2])[0]",
            "torch.adaptive_max_pool3d(z, [4, 3, 3])[0]", "torch._adaptive_avg_pool2d(x, [3, 4])"},
           {randn({2, 3, 9, 8}), randn({2, 3, 12}), randn({1, 2, 6, 8, 4})});
}

TEST(ImageSchemas, Normalization) {
  checkAll({"torch.batch_norm(x, y, z, w, z, False, 0.1, 1e-5, True)",
            "torch.batch_norm(x, None, None, w, z, False, 0.1, 1e-3, True)",
            "torch.batch_norm(x, y, None, w, z, False, 0.1, 1e-5, True)",
            "torch.batch_norm(x[:, :, 0, 0], y, z, w, z, False, 0.1, 1e-5, True)",
            "torch.batch_norm(x[:, :, 0], y, z, w, z, False, 0.1, 1e-5, True)",
            "torch.batch_norm(x.unsqueeze(-1), y, z, w, z, False, 0.1, 1e-5, True)",
            "torch.batch_norm(x, y, z, None, None, True, 0.1, 1e-5, True)",
            "torch.native_batch_norm(x, y, z, w, z, False, 0.1, 1e-5)[0]",
            "torch._native_batch_norm_legit_no_training(x, y, z, w, z, 0.1, 1e-5)[0]",
            "torch._batch_norm_impl_index(x, y, z, w, z, False, 0.1, 1e-5, True)[0]",
            "torch.instance_norm(x, y, z, None, None, True, 0.1, 1e-5, True)",
            "torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, True)",
            "torch.instance_norm(x[:, :, 0], y, z, None, None, True, 0.1, 1e-5, True)",
            "torch.instance_norm(x, y, z, w, z, False, 0.1, 1e-5, True)",
            "torch.instance_norm(x.unsqueeze(-1), y, z, None, None, True, 0.1, 1e-5, True)",
            "torch.group_norm(x, 2)",
            "torch.group_norm(x, 3, y, z)",
            "torch.group_norm(x, 6, y, None, 1e-3)",
            "torch.group_norm(x[:, :, 0, 0], 2, y, z)",
            "torch.group_norm(x[:, :, 0], 1, y, z)",
            "torch.native_group_norm(x, y, z, 2, 6, 20, 3, 1e-5)[0]",
            "torch.layer_norm(x, [4])",
            "torch.layer_norm(x, [5, 4])",
            "torch.layer_norm(x.transpose(1, 3), [6], y, z)",
            "torch.layer_norm(x.transpose(1, 3), [6], y)",
            "torch.layer_norm(x.transpose(1, 3), [6], None, z, 1e-2)",
            "torch.native_layer_norm(x.transpose(1, 3), [6], y, z, 1e-5)[0]",
            "torch.native_layer_norm(x.transpose(1, 3), [6], y, z, 1e-5)[1]",
            "torch.rms_norm(x.transpose(1, 3), [6], y)",
            "torch.rms_norm(x, [4])",
            "torch.rms_norm(x, [5, 4], None, 1e-3)",
            "torch._fused_rms_norm(x.transpose(1, 3), [6], y, 1e-5)[0]"},
           {randn({2, 6, 5, 4}), randn({6}), rand({6}, 0.5, 2.0), randn({6})});
}

TEST(ImageSchemas, Padding) {
  checkAll({"torch.constant_pad_nd(x, [1, 2])",
            "torch.constant_pad_nd(x, [1, 2, 0, 3], 2.5)",
            "torch.constant_pad_nd(x, [-1, 2, 1, -2], 1)",
            "torch.constant_pad_nd(x, [0, 0, 1, 1, 2, 0, 0, 1])",
            "torch.pad(x, [1, 1], 'constant', None)",
            "torch.pad(x, [1, 1, 2, 0], 'reflect')",
            "torch.pad(x, [1, 1, 2, 0], 'replicate')",
            "torch.pad(x, [1, 1, 2, 0], 'circular')",
            "torch.pad(x[0], [1, 1, 2, 0], 'reflect')",
            "torch.pad(y, [2, 1], 'reflect')",
            "torch.pad(y, [2, 1], 'replicate')",
            "torch.pad(y, [2, 1], 'circular')",
            "torch.reflection_pad1d(y, [1, 2])",
            "torch.reflection_pad2d(x, [1, 2, 0, 1])",
            "torch.reflection_pad3d(z, [1, 1, 1, 0, 2, 1])",
            "torch.replication_pad1d(y, [1, 2])",
            "torch.replication_pad2d(x, [1, 2, 0, 1])",
            "torch.replication_pad3d(z, [1, 1, 1, 0, 2, 1])",
            "torch._pad_circular(y, [2, 3])",
            "torch.pad(z, [1, 1, 0, 2, 1, 0], 'circular')",
            "torch.pad(z, [1, 0, 2, 1, 1, 1], 'replicate')",
            "torch.pad(x > 0, [1, 1], 'constant', 1.0)",
            "torch.pad(x, [-1, -1, -2, 0])",
            "torch.pad((x * 5).long(), [1, 1], 'constant', 7.0)"},
           {randn({2, 3, 5, 6}), randn({2, 3, 7}), randn({1, 2, 4, 5, 4})});
}

TEST(ImageSchemas, Resizing) {
  checkAll({"torch.upsample_nearest1d(y, 14)",
            "torch.upsample_nearest1d(y, None, [1.5])",
            "torch._upsample_nearest_exact1d(y, [14])",
            "torch._upsample_nearest_exact1d(y, None, [1.5])",
            "torch._upsample_nearest_exact2d(x, [7, 9])",
            "torch._upsample_nearest_exact3d(z, [5, 6, 6])",
            "torch._upsample_nearest_exact3d(z, None, [2.0, 1.5, 2.0])",
            "torch.upsample_linear1d(y, None, False, [2.0])",
            "torch.upsample_linear1d(y, [3], True)",
            "torch.upsample_bilinear2d(x, [11, 4], False)",
            "torch.upsample_bilinear2d(x, None, True, [1.7, 2.2])",
            "torch.upsample_bicubic2d(x, [9, 9], True)",
            "torch.upsample_bicubic2d(x, None, False, [2.0, 1.5])",
            "torch.upsample_trilinear3d(z, [7, 6, 5], True)",
            "torch.upsample_trilinear3d(z, None, False, [2.0, 2.0, 2.0])",
            "torch.upsample_nearest3d(z, [5, 7, 4])",
            "torch.grid_sampler(x, torch.tanh(x[:, :2].permute(0, 2, 3, 1)), 0, 0, True)",
            "torch.grid_sampler(x, torch.tanh(x[:, :2].permute(0, 2, 3, 1)) * 1.3, 0, 1, False)",
            "torch.grid_sampler(x, torch.tanh(x[:, :2].permute(0, 2, 3, 1)) * 1.3, 0, 2, False)",
            "torch.grid_sampler(x, torch.tanh(x[:, :2].permute(0, 2, 3, 1)) * 1.3, 1, 0, False)",
            "torch.grid_sampler_2d(x, torch.tanh(x[:, :2].permute(0, 2, 3, 1)), 0, 1, True)",
            "torch.channel_shuffle(x.repeat(1, 2, 1, 1), 3)",
            "torch.native_channel_shuffle(x.repeat(1, 2, 1, 1), 2)",
            "torch.pixel_shuffle(x.repeat(1, 4, 1, 1), 2)"},
           {randn({2, 3, 5, 6}), randn({2, 3, 7}), randn({1, 2, 4, 4, 3})});
}

} // namespace plait::frontend
