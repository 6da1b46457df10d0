// The rest of the schemas of linear operations: aliases, overloads, defaults given and left out.
#include "tests/frontend/lower/LowerCheck.h"

namespace plait::frontend {

TEST(LinearSchemas, Products) {
  checkAll({"torch.ger(z, w)",
            "torch.linalg_matmul(x, y)",
            "torch.vdot(z, z)",
            "torch.linalg_cross(x, x * 2 + 1)",
            "torch.cross(x, x + z)",
            "torch.mv(x, z)",
            "torch.matmul(z, y)",
            "torch.addmv(x[:, 0], x, z, beta=0.5, alpha=2)",
            "torch.addr(y, z, w, beta=0.5, alpha=3)",
            "torch.addmm(w, x, y, beta=2, alpha=0.5)",
            "torch.trace(y)",
            "torch.linalg_vecdot(x, x, dim=0)",
            "torch.inner(x, z)",
            "torch.outer(z, w)",
            "torch.tensordot(x, y, [1], [0])",
            "torch.linear(x, y.t(), w)",
            "torch.bilinear(x, x, torch.ones(2, 3, 3))",
            "torch.einsum('ij,jk->ki', [x, y])",
            "torch.einsum('ij,j->i', [x, z])",
            "torch.linalg_multi_dot([x, y, w])"},
           {randn({2, 3}), randn({3, 4}), randn({3}), randn({4})});
}

TEST(LinearSchemas, Attention) {
  checkAll(
      {"torch.scaled_dot_product_attention(x, y, z)",
       "torch.scaled_dot_product_attention(x, y, z, w)",
       "torch.scaled_dot_product_attention(x, y, z, None, 0.0, True)",
       "torch.scaled_dot_product_attention(x, y, z, None, 0.0, False, scale=0.3)",
       "torch.scaled_dot_product_attention(x, y, z, w, 0.0, False, scale=0.3)",
       "torch.scaled_dot_product_attention(x[:, 0], y[:, 0], z[:, 0])",
       "torch.scaled_dot_product_attention(x, y[:, :2], z[:, :2], enable_gqa=True)",
       "torch.scaled_dot_product_attention(x[:1], y, z)",
       "torch.scaled_dot_product_attention(x[0, 0], y[0, 0], z[0, 0])",
       "torch._scaled_dot_product_flash_attention_for_cpu(x, x, x)[0]",
       "torch._scaled_dot_product_flash_attention_for_cpu(x, x, x, 0.0, True)[0]",
       "torch._scaled_dot_product_flash_attention_for_cpu(x, y, z, 0.0, False, attn_mask=w)[0]"},
      {randn({2, 4, 5, 8}), randn({2, 4, 6, 8}), randn({2, 4, 6, 8}), randn({5, 6}),
       randbool({2, 1, 5, 6})});
}

} // namespace plait::frontend
