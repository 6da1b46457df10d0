// Operators that are refused on purpose. A name that ends with * stands for all that begin so, and
// one that begins with * for all that end so; the first that fits counts.
#include "frontend/lower/Refusals.h"

#include "llvm/ADT/ArrayRef.h"

namespace plait::frontend {

namespace {
constexpr const char *kIteration =
    "it is found by an iteration whose length the values decide; compute it outside of the model, "
    "or while the model is made";
constexpr const char *kFactors =
    "its result is a factorisation in a form of LAPACK's; torch.linalg.solve, inv, det, qr and "
    "cholesky of small matrices are supported";
constexpr const char *kSparse = "Core ML has no sparse tensors; call to_dense() before the model";
constexpr const char *kQuantised =
    "its form of quantisation is none that plait lowers; compile the model before quantisation and "
    "compress the package";
constexpr const char *kDynamic =
    "its kernels round the result by the steps of the input, each processor in its own way; "
    "leave convolutions out of quantize_dynamic and compress the package";
constexpr const char *kNested =
    "Core ML has no nested tensors; pad the sequences to one length and give their lengths";
constexpr const char *kSize =
    "the values of its input decide the size of the result; where they are known while compiling "
    "it is computed";
constexpr const char *kRandom =
    "Core ML draws uniform, normal, Bernoulli and categorical numbers alone; take these, or give "
    "the numbers as an input";
constexpr const char *kDevice = "it belongs to another device; trace the model on the CPU";
constexpr const char *kTraining = "it is part of training; compile the model in evaluation mode";
constexpr const char *kBits =
    "it depends on the bits of its argument in fp32, which a package of fp16 does not have";
constexpr const char *kInside =
    "it is a part of PyTorch's own machinery, which no model needs when it runs";
constexpr const char *kMemory =
    "it looks at or changes memory behind a tensor; Core ML's tensors are values";
constexpr const char *kFunction =
    "no approximation of known accuracy is made of it so far; compute it outside of the model";
constexpr const char *kAttention =
    "it is a kernel of one device; write scaled_dot_product_attention, which is supported";
constexpr const char *kAudioLoss = "a loss over alignments, which is part of training";

struct Refused {
  const char *name, *why;
};
constexpr Refused kRefused[] = {
    {"aten::linalg_svd*", kIteration},
    {"aten::_linalg_svd", kIteration},
    {"aten::svd", kIteration},
    {"aten::linalg_eig*", kIteration},
    {"aten::_linalg_eig*", kIteration},
    {"aten::linalg_pinv", kIteration},
    {"aten::pinverse", kIteration},
    {"aten::linalg_lstsq", kIteration},
    {"aten::linalg_matrix_rank", kIteration},
    {"aten::linalg_cond", kIteration},
    {"aten::nuclear_norm", kIteration},
    {"aten::linalg_lu*", kFactors},
    {"aten::lu_*", kFactors},
    {"aten::_lu_with_info", kFactors},
    {"aten::linalg_ldl*", kFactors},
    {"aten::linalg_householder_product", kFactors},
    {"aten::linalg_tensor*", kFactors},
    {"aten::geqrf", kFactors},
    {"aten::orgqr", kFactors},
    {"aten::ormqr", kFactors},
    {"aten::_linalg_*", kFactors},
    {"aten::_cholesky_solve_helper", kFactors},
    {"aten::*sparse*", kSparse},
    {"aten::*_coo_*", kSparse},
    {"aten::*coalesce*", kSparse},
    {"aten::*col_indices*", kSparse},
    {"aten::*row_indices*", kSparse},
    {"aten::*indices", kSparse},
    {"aten::*indices_copy", kSparse},
    {"aten::*values", kSparse},
    {"aten::*values_copy", kSparse},
    {"aten::*_csr*", kSparse},
    {"aten::_cslt_*", kSparse},
    {"aten::*dense_dim", kSparse},
    {"aten::to_dense", kSparse},
    {"aten::_to_dense", kSparse},
    {"aten::_nnz", kSparse},
    {"aten::_dimI", kSparse},
    {"aten::_dimV", kSparse},
    {"aten::_spdiags", kSparse},
    {"aten::_spsolve", kSparse},
    {"aten::hspmm", kSparse},
    {"aten::smm", kSparse},
    {"aten::sspaddmm", kSparse},
    {"aten::_rowwise_prune", kSparse},
    {"aten::*quantize*", kQuantised},
    {"aten::*qparams*", kQuantised},
    {"aten::q_*", kQuantised},
    {"aten::qscheme", kQuantised},
    {"aten::*_affine*", kQuantised},
    {"aten::fbgemm_*", kQuantised},
    {"aten::_wrapped_*", kQuantised},
    {"aten::_dyn_quant_*", kQuantised},
    {"aten::*_int4pack*", kQuantised},
    {"aten::_saturate_weight_to_fp16", kQuantised},
    {"aten::_mixed_dtypes_linear", kQuantised},
    {"aten::_int_mm", kQuantised},
    {"aten::_scaled_mm*", kQuantised},
    {"aten::_scaled_grouped_mm*", kQuantised},
    {"aten::_fused_moving_avg*", kQuantised},
    {"quantized::conv1d_dynamic", kDynamic},
    {"quantized::conv2d_dynamic", kDynamic},
    {"quantized::conv3d_dynamic", kDynamic},
    {"quantized::conv_transpose*", kDynamic},
    {"quantized::*", kQuantised},
    {"aten::_nested*", kNested},
    {"aten::*nested*", kNested},
    {"aten::*jagged*", kNested},
    {"aten::to_padded_tensor", kNested},
    {"aten::unique*", kSize},
    {"aten::_unique*", kSize},
    {"aten::nonzero*", kSize},
    {"aten::argwhere", kSize},
    {"aten::masked_select", kSize},
    {"aten::_pack_padded_sequence", kSize},
    {"aten::_pack_sequence", kSize},
    {"aten::_pad_packed_sequence", kSize},
    {"aten::segment_reduce", kSize},
    {"aten::histogramdd", kSize},
    {"aten::_histogramdd*", kSize},
    {"aten::binomial", kRandom},
    {"aten::poisson", kRandom},
    {"aten::cauchy", kRandom},
    {"aten::exponential", kRandom},
    {"aten::geometric", kRandom},
    {"aten::log_normal", kRandom},
    {"aten::random", kRandom},
    {"aten::_standard_gamma*", kRandom},
    {"aten::_sample_dirichlet", kRandom},
    {"aten::_dirichlet_grad", kRandom},
    {"aten::_sobol*", kRandom},
    {"aten::_philox*", kRandom},
    {"aten::fractional_max_pool*", kRandom},
    {"aten::*cudnn*", kDevice},
    {"aten::*miopen*", kDevice},
    {"aten::*mkldnn*", kDevice},
    {"aten::*mps*", kDevice},
    {"aten::*_xla*", kDevice},
    {"aten::*nnpack*", kDevice},
    {"aten::*triton*", kDevice},
    {"aten::_thnn_*", kDevice},
    {"aten::*flash_attention*", kAttention},
    {"aten::*efficient_attention*", kAttention},
    {"aten::*cudnn_attention*", kAttention},
    {"aten::*fused_attention*", kAttention},
    {"aten::*ctc_loss*", kAudioLoss},
    {"aten::*backward*", kTraining},
    {"aten::_amp_*", kTraining},
    {"aten::_fused_ada*", kTraining},
    {"aten::_fused_sgd", kTraining},
    {"aten::_fused_dropout", kTraining},
    {"aten::_masked_scale", kTraining},
    {"aten::batch_norm_*", kTraining},
    {"aten::_batch_norm_*", kTraining},
    {"aten::_native_batch_norm_legit_functional", kTraining},
    {"aten::rrelu_with_noise*", kTraining},
    {"aten::embedding_renorm*", kTraining},
    {"aten::*_jvp", kTraining},
    {"aten::grad", kTraining},
    {"aten::retains_grad", kTraining},
    {"aten::output_nr", kTraining},
    {"aten::nextafter", kBits},
    {"aten::view.dtype", kBits},
    {"aten::hash_tensor", kBits},
    {"aten::igamma*", kFunction},
    {"aten::special_gammainc*", kFunction},
    {"aten::special_airy_ai", kFunction},
    {"aten::special_bessel_*", kFunction},
    {"aten::special_*_polynomial_*", kFunction},
    {"aten::resize*", kMemory},
    {"aten::_resize*", kMemory},
    {"aten::set", kMemory},
    {"aten::set_", kMemory},
    {"aten::data", kMemory},
    {"aten::*storage*", kMemory},
    {"aten::is_set_to", kMemory},
    {"aten::*is_non_overlapping*", kMemory},
    {"aten::*strides_like*", kMemory},
    {"aten::_version", kMemory},
    {"aten::_test_*", kInside},
    {"aten::_debug_*", kInside},
    {"aten::_foobar", kInside},
    {"aten::_make_dual*", kInside},
    {"aten::_unpack_dual", kInside},
    {"aten::_fw_primal*", kInside},
    {"aten::*_batch_dim", kInside},
    {"aten::_ncf_*", kInside},
    {"aten::_validate*", kInside},
    {"aten::_neg_view*", kInside},
    {"aten::_foreach_*", kTraining},
};

bool fits(llvm::StringRef pattern, llvm::StringRef name) {
  pattern.consume_front("aten::");
  name.consume_front("aten::");
  bool open = pattern.consume_front("*"), wide = pattern.consume_back("*");
  if (open && wide)
    return name.contains(pattern);
  return open ? name.ends_with(pattern) : wide ? name.starts_with(pattern) : name == pattern;
}
} // namespace

llvm::StringRef refusalOf(llvm::StringRef name) {
  llvm::StringRef base = name.split('.').first;
  for (const Refused &refused : kRefused)
    if (fits(refused.name, name) || fits(refused.name, base))
      return refused.why;
  return "";
}

} // namespace plait::frontend
