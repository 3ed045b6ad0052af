#pragma once

#include <filesystem>
#include <string>

namespace m8d::core {

// Of the file's content, in hexadecimal.
std::string sha256(const std::filesystem::path &path);

}  // namespace m8d::core
