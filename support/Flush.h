// Makes what was written survive a power failure.
#pragma once

#include <string>
#include <system_error>

namespace plait {

/// Everything written to the open file reaches the disk itself, not only its cache.
std::error_code flushDescriptor(int descriptor);
/// The same for the file, or the entries of the folder, `path`.
std::error_code flushPath(const std::string &path);

} // namespace plait
