// Whether a model is being traced by this thread. Without LibTorch's types.
#pragma once

namespace plait::frontend {

/// This thread is inside of a forward() that is traced. Nothing of plait may be used there:
/// LibTorch would record what plait does.
bool isTracing();

} // namespace plait::frontend
