#include "audio.hpp"

#include <soxr.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "error.hpp"

namespace m8d::core {
namespace {

constexpr int max_rate = 768000;  // Hz
constexpr std::size_t max_samples = std::numeric_limits<std::ptrdiff_t>::max() / sizeof(float) / 64;

}  // namespace

Audio checked_audio(const float *samples, std::size_t count, int rate, const char *what) {
    if (!samples) fail(M8D_INVALID_ARGUMENT, what, ": received NULL, expected samples.");
    if (count == 0) fail(M8D_INVALID_ARGUMENT, what, " is empty: expected at least one sample.");
    if (count > max_samples)
        fail(M8D_INVALID_ARGUMENT, what, ": received ", count, " samples, expected at most ", max_samples, ".");
    if (rate <= 0 || rate > max_rate)
        fail(M8D_INVALID_ARGUMENT, what, ": received a sample rate of ", rate, ", expected 1 to ", max_rate, " Hz.");
    const auto bad = std::count_if(samples, samples + count, [](float x) { return !std::isfinite(x); });
    if (bad)
        fail(M8D_INVALID_ARGUMENT, what, " has ", bad,
             " samples that are NaN or infinite: expected finite numbers. Repair the audio.");
    return {std::vector<float>(samples, samples + count), rate};
}

std::vector<float> resampled(const Audio &audio, int rate) {
    if (audio.rate == rate) return audio.samples;
    const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    soxr_error_t error = nullptr;
    std::unique_ptr<struct soxr, void (*)(soxr_t)> resampler(
        soxr_create(audio.rate, rate, 1, &error, &io, &quality, nullptr), soxr_delete);
    if (error) fail(M8D_INTERNAL, "Resampling from ", audio.rate, " to ", rate, " Hz failed: ", error, ".");
    const double expected = static_cast<double>(audio.samples.size()) * rate / audio.rate;
    std::vector<float> result(static_cast<std::size_t>(expected) + 64);
    std::size_t used = 0, made = 0, more = 0;
    error = soxr_process(resampler.get(), audio.samples.data(), audio.samples.size(), &used, result.data(),
                         result.size(), &made);
    if (!error)
        error = soxr_process(resampler.get(), nullptr, 0, nullptr, result.data() + made, result.size() - made, &more);
    if (error) fail(M8D_INTERNAL, "Resampling from ", audio.rate, " to ", rate, " Hz failed: ", error, ".");
    result.resize(made + more);
    return result;
}

}  // namespace m8d::core
