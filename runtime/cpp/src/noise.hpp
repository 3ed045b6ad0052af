// Counter-based random numbers, the same as the Python runtime's (docs/bundle-format.md#noise).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace m8d::core {

enum class Draw : std::uint64_t { sampling = 0, remasking = 1 };
enum class NoiseStage : std::uint64_t { s2a_1layer = 1, s2a_full = 2 };

// Philox4x64-10 (Salmon et al., 2011): four words of a counter and a key.
std::array<std::uint64_t, 4> philox(std::array<std::uint64_t, 4> counter, std::array<std::uint64_t, 2> key);

// Uniform draws of one layer of one stage. Any draw can be had without those before it.
class NoiseStream {
  public:
    NoiseStream(std::uint64_t seed, NoiseStage stage, std::uint64_t layer)
        : seed_(seed), place_(layer + layers_per_stage * static_cast<std::uint64_t>(stage)) {}

    // Number `index` in C order of the draws of `kind` at `step`, in [0, 1).
    float uniform(Draw kind, std::uint64_t step, std::uint64_t index) const {
        constexpr std::uint64_t per_block = 8;  // 32-bit halves of four words, low half first
        // NumPy counts before it draws: its first block has counter 1.
        const auto block = philox({1 + index / per_block, static_cast<std::uint64_t>(kind), step, place_}, {seed_, 0});
        const std::uint64_t word = block[index % per_block / 2];
        const auto half = static_cast<std::uint32_t>(index % 2 ? word >> 32 : word);
        return static_cast<float>(half >> 8) * 0x1p-24f;
    }

  private:
    static constexpr std::uint64_t layers_per_stage = 256;
    std::uint64_t seed_, place_;
};

// A standard Gumbel number, guarded at both ends as the reference does.
inline float gumbel(float uniform) {
    constexpr float epsilon = 1e-10f;
    return -std::log(-std::log(uniform + epsilon) + epsilon);
}

}  // namespace m8d::core
