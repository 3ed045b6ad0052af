// The C interface: checks, conversions, and no exception past it.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "error.hpp"
#include "m8d.h"
#include "pipeline.hpp"

struct m8d_pipeline {
    m8d::core::Pipeline core;
};

struct m8d_voice {
    m8d::core::Voice core;
};

namespace {

using namespace m8d::core;

thread_local std::string last_error;

template <typename Call> m8d_status guarded(Call call) {
    try {
        last_error.clear();
        call();
        return M8D_OK;
    } catch (const Error &error) {
        last_error = error.what();
        return error.status;
    } catch (const std::bad_alloc &) {
        last_error = "Out of memory.";
        return M8D_OUT_OF_MEMORY;
    } catch (const std::length_error &) {
        last_error = "Out of memory: an array would be too large.";
        return M8D_OUT_OF_MEMORY;
    } catch (const std::exception &error) {
        last_error = error.what();
        return M8D_INTERNAL;
    } catch (...) {
        last_error = "Unknown failure.";
        return M8D_INTERNAL;
    }
}

template <typename T> T &needed(T *pointer, const char *what) {
    if (!pointer) fail(M8D_INVALID_ARGUMENT, what, ": received NULL.");
    return *pointer;
}

// An options struct of a caller that was compiled with this version: older ones are smaller, and there are none yet.
template <typename T> T &sized(T *pointer, std::size_t size, const char *what) {
    needed(pointer, what);
    if (size != sizeof(T))
        fail(M8D_INVALID_ARGUMENT, what, ": received a struct of ", size, " bytes, expected ", sizeof(T),
             ". Fill it with its init function, with the m8d.h of this library.");
    return *pointer;
}

struct Free {
    void operator()(void *pointer) const { std::free(pointer); }
};

template <typename T> std::unique_ptr<T, Free> handed_out(const std::vector<T> &values) {
    std::unique_ptr<T, Free> copy(static_cast<T *>(std::malloc(std::max<std::size_t>(values.size(), 1) * sizeof(T))));
    if (!copy) throw std::bad_alloc();
    if (!values.empty()) std::memcpy(copy.get(), values.data(), values.size() * sizeof(T));
    return copy;
}

std::vector<float> checked_latents(const Pipeline &pipeline, const float *latents, std::size_t frames) {
    needed(latents, "latents");
    const auto width = static_cast<std::size_t>(pipeline.bundle().model.latent_dim);
    const auto limit = static_cast<std::size_t>(pipeline.bundle().model.max_positions);
    if (frames == 0 || frames > limit)
        fail(M8D_INVALID_ARGUMENT, "latents: received ", frames, " frames, expected 1 to ", limit, ".");
    std::vector<float> copy(latents, latents + frames * width);
    for (const float value : copy)
        if (!std::isfinite(value)) fail(M8D_INVALID_ARGUMENT, "latents hold NaN or infinity: expected finite numbers.");
    return copy;
}

Sampling checked_sampling(const Pipeline &pipeline, const m8d_sampling *given) {
    const auto &defaults = pipeline.bundle().sampling;
    Sampling sampling{0, defaults.coarse_steps, defaults.fine_steps, defaults.coarse_guidance, defaults.fine_guidance,
                      defaults.rescale, defaults.temperature, defaults.top_k_ratio, defaults.prompt_seconds};
    if (!given) return sampling;
    const m8d_sampling &options = sized(given, given->size, "sampling");
    auto check = [](const char *name, auto value, bool valid, const char *expected) {
        if (!valid) fail(M8D_INVALID_ARGUMENT, "Sampling option ", name, ": received ", value, ", expected ", expected, ".");
    };
    const int limit = 10000;
    check("coarse_steps", options.coarse_steps, options.coarse_steps >= 1 && options.coarse_steps <= limit, "1 to 10000");
    check("second_steps", options.second_steps, options.second_steps >= 1 && options.second_steps <= limit, "1 to 10000");
    check("rest_steps", options.rest_steps, options.rest_steps >= 1 && options.rest_steps <= limit, "1 to 10000");
    check("coarse_guidance", options.coarse_guidance, options.coarse_guidance >= 0 && std::isfinite(options.coarse_guidance), "0 or more");
    check("fine_guidance", options.fine_guidance, options.fine_guidance >= 0 && std::isfinite(options.fine_guidance), "0 or more");
    check("rescale", options.rescale, options.rescale >= 0 && options.rescale <= 1, "0 to 1");
    check("temperature", options.temperature, options.temperature > 0 && std::isfinite(options.temperature), "more than 0");
    check("top_k_ratio", options.top_k_ratio, options.top_k_ratio > 0 && options.top_k_ratio <= 1, "more than 0, at most 1");
    check("prompt_seconds", options.prompt_seconds, options.prompt_seconds >= 0 && options.prompt_seconds < 1e6f, "0 or more");
    sampling.seed = options.seed;
    sampling.coarse_steps = options.coarse_steps;
    sampling.fine_steps.assign(defaults.fine_steps.size(), options.rest_steps);
    if (!sampling.fine_steps.empty()) sampling.fine_steps[0] = options.second_steps;
    sampling.coarse_guidance = options.coarse_guidance;
    sampling.fine_guidance = options.fine_guidance;
    sampling.rescale = options.rescale;
    sampling.temperature = options.temperature;
    sampling.top_k_ratio = options.top_k_ratio;
    sampling.prompt_seconds = options.prompt_seconds;
    return sampling;
}

Progress wrapped(m8d_progress progress, void *user) {
    if (!progress) return nullptr;
    return [=](std::uint32_t done, std::uint32_t total) { return progress(user, done, total) != 0; };
}

}  // namespace

const char *m8d_version(void) { return M8D_VERSION_TEXT; }

const char *m8d_last_error(void) { return last_error.c_str(); }

m8d_status m8d_open_options_init(m8d_open_options *options, size_t size) {
    return guarded([&] { sized(options, size, "options") = {sizeof(m8d_open_options), "cpu", 0, 0}; });
}

m8d_status m8d_open(const char *path, const m8d_open_options *given, m8d_pipeline **pipeline) {
    return guarded([&] {
        needed(path, "path");
        needed(pipeline, "pipeline");
        m8d_open_options options{sizeof(m8d_open_options), "cpu", 0, 0};
        if (given) options = sized(given, given->size, "options");
        auto backend = make_backend(&needed(options.provider, "provider"), options.threads);
        auto bundle = Bundle::open(std::filesystem::u8path(path), options.verify != 0);
        *pipeline = new m8d_pipeline{{std::move(bundle), std::move(backend)}};
    });
}

void m8d_close(m8d_pipeline *pipeline) { delete pipeline; }

m8d_status m8d_get_info(const m8d_pipeline *pipeline, m8d_info *info, size_t size) {
    return guarded([&] {
        const Model &model = needed(pipeline, "pipeline").core.bundle().model;
        sized(info, size, "info") = {sizeof(m8d_info), model.acoustic_sample_rate, model.frame_rate, model.latent_dim,
                                     model.num_quantizers};
    });
}

m8d_status m8d_sampling_init(const m8d_pipeline *pipeline, m8d_sampling *sampling, size_t size) {
    return guarded([&] {
        const auto &defaults = needed(pipeline, "pipeline").core.bundle().sampling;
        const auto &fine = defaults.fine_steps;
        sized(sampling, size, "sampling") = {
            sizeof(m8d_sampling), 0, defaults.coarse_steps, fine.empty() ? 1 : fine.front(), fine.empty() ? 1 : fine.back(),
            defaults.coarse_guidance, defaults.fine_guidance, defaults.rescale, defaults.temperature,
            defaults.top_k_ratio, defaults.prompt_seconds};
    });
}

m8d_status m8d_encode(m8d_pipeline *pipeline, const float *samples, size_t count, int32_t rate, float **latents,
                      size_t *frames) {
    return guarded([&] {
        Pipeline &core = needed(pipeline, "pipeline").core;
        needed(latents, "latents");
        needed(frames, "frames");
        const auto result = core.encode(checked_audio(samples, count, rate, "audio"));
        *latents = handed_out(result).release();
        *frames = result.size() / static_cast<std::size_t>(core.bundle().model.latent_dim);
    });
}

m8d_status m8d_semantic_codes(m8d_pipeline *pipeline, const float *latents, size_t frames, int64_t **codes) {
    return guarded([&] {
        Pipeline &core = needed(pipeline, "pipeline").core;
        needed(codes, "codes");
        *codes = handed_out(core.semantic_codes(checked_latents(core, latents, frames))).release();
    });
}

m8d_status m8d_voice_create(m8d_pipeline *pipeline, const float *samples, size_t count, int32_t rate,
                            m8d_voice **voice) {
    return guarded([&] {
        Pipeline &core = needed(pipeline, "pipeline").core;
        needed(voice, "voice");
        *voice = new m8d_voice{core.voice(checked_audio(samples, count, rate, "reference"))};
    });
}

void m8d_voice_free(m8d_voice *voice) { delete voice; }

m8d_status m8d_decode(m8d_pipeline *pipeline, const float *latents, size_t frames, const m8d_voice *voice,
                      const m8d_sampling *sampling, m8d_progress progress, void *user, float **audio, size_t *count,
                      int64_t **codes) {
    return guarded([&] {
        Pipeline &core = needed(pipeline, "pipeline").core;
        needed(audio, "audio");
        needed(count, "count");
        const auto result = core.decode(checked_latents(core, latents, frames), voice ? &voice->core : nullptr,
                                        checked_sampling(core, sampling), wrapped(progress, user));
        auto sound = handed_out(result.audio);
        if (codes) *codes = handed_out(result.codes).release();
        *audio = sound.release();
        *count = result.audio.size();
    });
}

m8d_status m8d_convert(m8d_pipeline *pipeline, const float *samples, size_t count, int32_t rate, const m8d_voice *voice,
                       const m8d_sampling *sampling, m8d_progress progress, void *user, float **audio,
                       size_t *audio_count) {
    return guarded([&] {
        Pipeline &core = needed(pipeline, "pipeline").core;
        needed(audio, "audio");
        needed(audio_count, "audio_count");
        const Voice &spoken = needed(voice, "voice").core;
        const Sampling options = checked_sampling(core, sampling);
        const auto latents = core.encode(checked_audio(samples, count, rate, "audio"));
        const auto result = core.decode(latents, &spoken, options, wrapped(progress, user));
        *audio = handed_out(result.audio).release();
        *audio_count = result.audio.size();
    });
}

void m8d_free(void *array) { std::free(array); }
