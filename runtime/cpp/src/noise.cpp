#include "noise.hpp"

namespace m8d::core {
namespace {

struct Product {
    std::uint64_t high, low;
};

Product multiply(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
}

}  // namespace

std::array<std::uint64_t, 4> philox(std::array<std::uint64_t, 4> counter, std::array<std::uint64_t, 2> key) {
    constexpr int rounds = 10;
    for (int round = 0; round < rounds; round++) {
        const Product first = multiply(0xD2E7470EE14C6C93u, counter[0]);
        const Product second = multiply(0xCA5A826395121157u, counter[2]);
        counter = {second.high ^ counter[1] ^ key[0], second.low, first.high ^ counter[3] ^ key[1], first.low};
        key[0] += 0x9E3779B97F4A7C15u;
        key[1] += 0xBB67AE8584CAA73Bu;
    }
    return counter;
}

}  // namespace m8d::core
