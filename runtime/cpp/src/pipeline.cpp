#include "pipeline.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "error.hpp"
#include "masked_decoding.hpp"

namespace m8d::core {
namespace {

Tensor row(std::vector<float> data) {
    const auto size = static_cast<std::int64_t>(data.size());
    return {{1, size}, std::move(data)};
}

Tensor number(std::int64_t value) { return {{1}, std::vector<std::int64_t>{value}}; }

std::vector<std::int64_t> joined(const std::vector<std::int64_t> &first, const std::vector<std::int64_t> &second) {
    std::vector<std::int64_t> both = first;
    both.insert(both.end(), second.begin(), second.end());
    return both;
}

}  // namespace

std::vector<float> Pipeline::encode(const Audio &audio) {
    const Model &model = bundle_.model;
    auto pcm = resampled(audio, model.semantic_sample_rate);
    const auto size = static_cast<std::int64_t>(pcm.size());
    if (size < model.min_semantic_samples)
        fail(M8D_INVALID_ARGUMENT, "The audio is too short: received ",
             1000.0 * static_cast<double>(audio.samples.size()) / audio.rate, " ms, expected at least ",
             1000.0 * model.min_semantic_samples / model.semantic_sample_rate, " ms.");
    Feeds feeds;
    feeds["pcm"] = row(std::move(pcm));
    feeds["lengths"] = number(size);
    auto front = sessions_.run("front_end", std::move(feeds));
    Feeds heard;
    heard["input_features"] = std::move(front.at("input_features"));
    heard["attention_mask"] = std::move(front.at("attention_mask"));
    auto features = sessions_.run("w2v_bert", std::move(heard));
    Feeds encoded;
    encoded["features"] = std::move(features.at("features"));
    encoded["frames"] = std::move(front.at("frames"));
    return std::move(sessions_.run("semantic_encoder", std::move(encoded)).at("latents").floats());
}

std::vector<std::int64_t> Pipeline::semantic_codes(const std::vector<float> &latents) {
    const std::int64_t width = bundle_.model.latent_dim;
    Feeds feeds;
    feeds["latents"] = {{1, static_cast<std::int64_t>(latents.size()) / width, width}, latents};
    return std::move(sessions_.run("semantic_quantizer", std::move(feeds)).at("semantic_codes").integers());
}

Voice Pipeline::voice(const Audio &audio) {
    const Model &model = bundle_.model;
    Voice voice{semantic_codes(encode(audio)), {}};
    auto pcm = resampled(audio, model.acoustic_sample_rate);
    const auto size = static_cast<std::int64_t>(pcm.size());
    if (size < model.hop_size)
        fail(M8D_INVALID_ARGUMENT, "The reference is too short: expected at least one frame of ",
             1000.0 / model.frame_rate, " ms.");
    Feeds feeds;
    feeds["pcm"] = row(std::move(pcm));
    feeds["lengths"] = number(size);
    voice.acoustic =
        std::move(sessions_.run("acoustic_encoder", std::move(feeds)).at("acoustic_codes").integers());
    // Cut to the shorter of the two, or frames would be paired with the wrong sound.
    const auto layers = static_cast<std::size_t>(model.num_quantizers);
    const auto frames = std::min(voice.semantic.size(), voice.acoustic.size() / layers);
    voice.semantic.resize(frames);
    voice.acoustic.resize(frames * layers);
    return voice;
}

Decoding Pipeline::decode(const std::vector<float> &latents, const Voice *voice, const Sampling &sampling,
                          const Progress &progress) {
    const Model &model = bundle_.model;
    const auto semantic = semantic_codes(latents);
    const auto layers = static_cast<std::size_t>(model.num_quantizers);
    Voice prompt;
    if (voice) {
        if (voice->acoustic.size() != voice->semantic.size() * layers)
            fail(M8D_INVALID_ARGUMENT, "The voice was encoded with another bundle: encode it with this one.");
        const auto wanted = static_cast<std::size_t>(std::nearbyint(
            static_cast<double>(sampling.prompt_seconds) * model.frame_rate));
        const auto frames = std::min({wanted, semantic.size(), voice->semantic.size()});
        prompt.semantic.assign(voice->semantic.begin(), voice->semantic.begin() + static_cast<std::ptrdiff_t>(frames));
        prompt.acoustic.assign(voice->acoustic.begin(),
                               voice->acoustic.begin() + static_cast<std::ptrdiff_t>(frames * layers));
    }
    const auto total = prompt.semantic.size() + semantic.size();
    if (total > static_cast<std::size_t>(model.max_positions))
        fail(M8D_INVALID_ARGUMENT, "Prompt and audio are too long together: received ", total,
             " frames, expected at most ", model.max_positions, ". Cut the audio.");
    Decoding decoding;
    decoding.codes = acoustic_codes(semantic, prompt, sampling, progress);
    Feeds feeds;
    feeds["acoustic_codes"] = {{1, static_cast<std::int64_t>(semantic.size()), model.num_quantizers}, decoding.codes};
    feeds["frames"] = number(static_cast<std::int64_t>(semantic.size()));
    decoding.audio = std::move(sessions_.run("acoustic_decoder", std::move(feeds)).at("pcm").floats());
    return decoding;
}

std::vector<std::int64_t> Pipeline::acoustic_codes(const std::vector<std::int64_t> &semantic, const Voice &prompt,
                                                   const Sampling &sampling, const Progress &progress) {
    const Model &model = bundle_.model;
    const int layers = model.num_quantizers, mask = model.acoustic_codebook_size;
    const auto frames = semantic.size();
    const auto said = joined(prompt.semantic, semantic);
    const int total = std::accumulate(sampling.fine_steps.begin(), sampling.fine_steps.end(), sampling.coarse_steps);
    int done = 0;
    auto stepped = [&](int steps) {
        done += steps;
        if (progress && progress(static_cast<std::uint32_t>(done), static_cast<std::uint32_t>(total)))
            fail(M8D_CANCELLED, "Cancelled by the progress function.");
    };
    std::vector<std::int64_t> codes(frames * static_cast<std::size_t>(layers), mask);
    for (int layer = 0; layer < layers; layer++) {
        const bool coarse = layer == 0;
        const std::string name = coarse ? "s2a_1layer" : "s2a_full";
        const int width = coarse ? 1 : layers;
        const LayerSampling own{coarse ? sampling.coarse_steps : sampling.fine_steps[static_cast<std::size_t>(layer - 1)],
                                coarse ? sampling.coarse_guidance : sampling.fine_guidance, sampling.rescale,
                                sampling.temperature, sampling.top_k_ratio};
        std::vector<float> times;
        for (int i = 0; i < own.steps; i++) times.push_back(static_cast<float>(1.0 - i * (1.0 / own.steps)));
        Feeds feeds;
        feeds["semantic_codes"] = {{1, static_cast<std::int64_t>(said.size())}, said};
        feeds["layer"] = number(layer);
        feeds["t"] = {{own.steps}, std::move(times)};
        auto fixed = sessions_.run(name + "_condition", std::move(feeds));
        const Shape scales = fixed.at("scales").shape;
        Context context{{}, std::move(fixed.at("condition").floats()), std::move(fixed.at("scales").floats()),
                        static_cast<std::int64_t>(prompt.semantic.size()), scales[2], scales[1]};
        std::vector<std::int64_t> known;
        for (std::size_t i = 0; i < prompt.semantic.size(); i++)
            for (int l = 0; l < width; l++)
                context.prefix.push_back(prompt.acoustic[i * static_cast<std::size_t>(layers) + static_cast<std::size_t>(l)]);
        for (std::size_t i = 0; i < frames; i++)
            for (int l = 0; l < width; l++)
                known.push_back(codes[i * static_cast<std::size_t>(layers) + static_cast<std::size_t>(l)]);
        const NoiseStream noise(sampling.seed, coarse ? NoiseStage::s2a_1layer : NoiseStage::s2a_full,
                                static_cast<std::uint64_t>(layer));
        LayerDecoding decoding(sessions_, name, context, std::move(known), width, layer, mask, noise, own);
        const auto decoded = decoding.run(stepped);
        for (std::size_t i = 0; i < frames; i++)
            codes[i * static_cast<std::size_t>(layers) + static_cast<std::size_t>(layer)] =
                decoded[i * static_cast<std::size_t>(width) + static_cast<std::size_t>(layer)];
    }
    return codes;
}

}  // namespace m8d::core
