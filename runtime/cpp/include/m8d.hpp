// The C interface with owners and exceptions. Header only: link the library of m8d.h.
#ifndef M8D_HPP
#define M8D_HPP

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "m8d.h"

namespace m8d {

class Error : public std::runtime_error {
  public:
    Error(m8d_status status, const std::string &text) : std::runtime_error(text), status(status) {}
    const m8d_status status;
};

inline void check(m8d_status status) {
    if (status != M8D_OK) throw Error(status, m8d_last_error());
}

// An array that the library handed out, copied and given back.
template <typename T> std::vector<T> taken(T *array, std::size_t count) {
    std::unique_ptr<T, void (*)(void *)> owner(array, m8d_free);
    return std::vector<T>(array, array + count);
}

class Voice {
  public:
    explicit Voice(m8d_voice *voice) : handle_(voice, m8d_voice_free) {}
    const m8d_voice *get() const { return handle_.get(); }

  private:
    std::unique_ptr<m8d_voice, void (*)(m8d_voice *)> handle_;
};

// Told (done, total); returns false to cancel.
using Progress = std::function<bool(std::uint32_t, std::uint32_t)>;

class Pipeline {
  public:
    explicit Pipeline(const std::string &bundle, int threads = 0, const std::string &provider = "cpu")
        : handle_(nullptr, m8d_close) {
        m8d_open_options options;
        check(m8d_open_options_init(&options, sizeof options));
        options.threads = threads;
        options.provider = provider.c_str();
        m8d_pipeline *pipeline = nullptr;
        check(m8d_open(bundle.c_str(), &options, &pipeline));
        handle_.reset(pipeline);
    }

    m8d_info info() const {
        m8d_info info;
        check(m8d_get_info(handle_.get(), &info, sizeof info));
        return info;
    }

    m8d_sampling sampling() const {
        m8d_sampling sampling;
        check(m8d_sampling_init(handle_.get(), &sampling, sizeof sampling));
        return sampling;
    }

    std::vector<float> encode(const std::vector<float> &samples, int rate) {
        float *latents = nullptr;
        std::size_t frames = 0;
        check(m8d_encode(handle_.get(), samples.data(), samples.size(), rate, &latents, &frames));
        return taken(latents, frames * static_cast<std::size_t>(info().latent_dim));
    }

    std::vector<std::int64_t> semantic_codes(const std::vector<float> &latents) {
        std::int64_t *codes = nullptr;
        const auto frames = latents.size() / static_cast<std::size_t>(info().latent_dim);
        check(m8d_semantic_codes(handle_.get(), latents.data(), frames, &codes));
        return taken(codes, frames);
    }

    Voice voice(const std::vector<float> &samples, int rate) {
        m8d_voice *voice = nullptr;
        check(m8d_voice_create(handle_.get(), samples.data(), samples.size(), rate, &voice));
        return Voice(voice);
    }

    std::vector<float> convert(const std::vector<float> &samples, int rate, const Voice &voice,
                               const m8d_sampling &sampling, Progress progress = nullptr) {
        float *audio = nullptr;
        std::size_t count = 0;
        check(m8d_convert(handle_.get(), samples.data(), samples.size(), rate, voice.get(), &sampling,
                          progress ? told : nullptr, &progress, &audio, &count));
        return taken(audio, count);
    }

    // Without a voice when `voice` is null.
    std::vector<float> decode(const std::vector<float> &latents, const Voice *voice, const m8d_sampling &sampling,
                              Progress progress = nullptr) {
        float *audio = nullptr;
        std::size_t count = 0;
        check(m8d_decode(handle_.get(), latents.data(), latents.size() / static_cast<std::size_t>(info().latent_dim),
                         voice ? voice->get() : nullptr, &sampling, progress ? told : nullptr, &progress, &audio, &count,
                         nullptr));
        return taken(audio, count);
    }

  private:
    static int told(void *user, std::uint32_t done, std::uint32_t total) {
        return (*static_cast<Progress *>(user))(done, total) ? 0 : 1;
    }

    std::unique_ptr<m8d_pipeline, void (*)(m8d_pipeline *)> handle_;
};

}  // namespace m8d

#endif
