#pragma once

#include <cstddef>
#include <vector>

namespace m8d::core {

// Mono samples in [-1, 1] at `rate` Hz.
struct Audio {
    std::vector<float> samples;
    int rate;
};

// A copy of `count` samples, checked: not NULL, not empty, finite, a possible rate. `what` is how errors name them.
Audio checked_audio(const float *samples, std::size_t count, int rate, const char *what);

// By soxr at its HQ setting, as the Python runtime does.
std::vector<float> resampled(const Audio &audio, int rate);

}  // namespace m8d::core
