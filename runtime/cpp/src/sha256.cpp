#include "sha256.hpp"

#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>
#include <vector>

namespace m8d::core {

std::string sha256(const std::filesystem::path &path) {
    std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX *)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    std::ifstream file(path, std::ios::binary);
    std::vector<char> block(1u << 20);
    EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
    while (file.read(block.data(), static_cast<std::streamsize>(block.size())) || file.gcount() > 0)
        EVP_DigestUpdate(context.get(), block.data(), static_cast<std::size_t>(file.gcount()));
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_DigestFinal_ex(context.get(), digest.data(), &size);
    std::string text;
    constexpr char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < size; i++) text += {digits[digest[i] >> 4], digits[digest[i] & 15]};
    return text;
}

}  // namespace m8d::core
