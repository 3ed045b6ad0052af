// Mask-and-predict decoding of one layer; the Python runtime's masked_decoding.py, step for step.
// P prompt frames, T target frames, L layers of the model, K codes, H width.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "noise.hpp"
#include "session.hpp"

namespace m8d::core {

struct LayerSampling {
    int steps;
    float guidance, rescale, temperature, top_k_ratio;
};

// Fixed within a layer.
struct Context {
    std::vector<std::int64_t> prefix;  // (P, L)
    std::vector<float> condition;      // (P + T, H)
    std::vector<float> scales;         // (steps, M, H)
    std::int64_t prompt, width, norms;
};

class LayerDecoding {
  public:
    // `codes (T, L)`: the layers below are known, `layer` and those above are overwritten or ignored.
    LayerDecoding(Sessions &sessions, const std::string &model, const Context &context, std::vector<std::int64_t> codes,
                  int layers, int layer, int num_codes, NoiseStream noise, const LayerSampling &sampling);

    // All steps; `stepped` is told how many steps were done or became needless, and throws to cancel.
    std::vector<std::int64_t> run(const std::function<void(int)> &stepped);

  private:
    struct Candidates {
        std::vector<std::int64_t> codes;  // ascending
        std::vector<float> logits;
    };

    void step(int step);
    std::vector<float> hidden(int step, const std::vector<std::int64_t> &rows);
    std::vector<float> backbone(int step, const std::vector<std::int64_t> &rows, bool guided);
    Candidates top_k(const float *logits) const;
    std::size_t choose(const Candidates &candidates, std::int64_t row, int step, float t) const;
    int masked_count(int step) const;

    Sessions &sessions_;
    std::string model_;
    const Context &context_;
    std::vector<std::int64_t> codes_;
    int layers_, layer_, num_codes_;
    NoiseStream noise_;
    LayerSampling sampling_;
    std::int64_t frames_;
    std::vector<bool> masked_;
};

}  // namespace m8d::core
