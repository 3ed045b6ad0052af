// Audio → latents → codes → audio. T frames, Q quantizers, D latent.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "audio.hpp"
#include "bundle.hpp"
#include "session.hpp"

namespace m8d::core {

struct Voice {
    std::vector<std::int64_t> semantic;  // (P)
    std::vector<std::int64_t> acoustic;  // (P, Q)
};

struct Sampling {
    std::uint64_t seed;
    int coarse_steps;
    std::vector<int> fine_steps;
    float coarse_guidance, fine_guidance, rescale, temperature, top_k_ratio, prompt_seconds;
};

struct Decoding {
    std::vector<float> audio;
    std::vector<std::int64_t> codes;  // (T, Q)
};

// Told (done, total); returns whether to cancel.
using Progress = std::function<bool(std::uint32_t, std::uint32_t)>;

class Pipeline {
  public:
    Pipeline(Bundle bundle, std::unique_ptr<Backend> backend)
        : bundle_(std::move(bundle)), sessions_(bundle_, std::move(backend)) {}

    const Bundle &bundle() const { return bundle_; }
    std::vector<float> encode(const Audio &audio);
    std::vector<std::int64_t> semantic_codes(const std::vector<float> &latents);
    Voice voice(const Audio &audio);
    Decoding decode(const std::vector<float> &latents, const Voice *voice, const Sampling &sampling,
                    const Progress &progress);

  private:
    std::vector<std::int64_t> acoustic_codes(const std::vector<std::int64_t> &semantic, const Voice &prompt,
                                             const Sampling &sampling, const Progress &progress);

    Bundle bundle_;
    Sessions sessions_;
};

}  // namespace m8d::core
