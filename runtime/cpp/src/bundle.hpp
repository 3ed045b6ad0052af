// The manifest of a bundle, checked on load; specified in docs/bundle-format.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace m8d::core {

struct Model {
    int semantic_sample_rate, acoustic_sample_rate, frame_rate, hop_size, min_semantic_samples;
    int latent_dim, acoustic_codebook_size, num_quantizers, max_positions;
};

struct SamplingDefaults {
    int coarse_steps;
    std::vector<int> fine_steps;
    float coarse_guidance, fine_guidance, rescale, temperature, top_k_ratio, prompt_seconds;
};

struct Stage {
    std::filesystem::path file;
    std::vector<std::string> inputs, outputs;
    std::vector<std::string> hashes;                             // of the graph and of its weights, where those are apart
    std::map<std::string, std::vector<std::string>> axes;        // letters of each input's shape, empty where fixed
};

struct Bundle {
    std::string name;
    std::filesystem::path folder;
    Model model;
    SamplingDefaults sampling;
    std::map<std::string, Stage> stages;

    // Reads `folder/m8d.json`, checks that every file is there with its size, and the hash of all files up to 64 MiB
    // (of every file with `verify`). Throws Error(M8D_BAD_BUNDLE).
    static Bundle open(const std::filesystem::path &folder, bool verify);
    const Stage &stage(const std::string &name) const;
};

}  // namespace m8d::core
