// m8d-convert: `m8d-run convert` without Python, with its main flags.
#include <sndfile.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "m8d.hpp"

namespace {

constexpr const char *usage =
    "usage: m8d-convert --bundle FOLDER --source FILE --reference FILE --output FILE.wav\n"
    "                   [--seed N] [--layer-steps A,B,C] [--guidance A,B] [--temperature X] [--top-k X]\n"
    "                   [--prompt-seconds X] [--threads N] [--provider P] [--quiet]\n";

struct Sound {
    std::vector<float> samples;
    int rate;
};

// Any format of libsndfile; channels are averaged.
Sound read(const std::string &path) {
    SF_INFO info{};
    SNDFILE *file = sf_open(path.c_str(), SFM_READ, &info);
    if (!file) throw std::runtime_error("Cannot read " + path + " as audio (" + sf_strerror(nullptr) + ").");
    const auto channels = static_cast<std::size_t>(info.channels);
    std::vector<float> all(static_cast<std::size_t>(info.frames) * channels);
    const auto frames = sf_readf_float(file, all.data(), info.frames);
    sf_close(file);
    Sound sound{std::vector<float>(static_cast<std::size_t>(frames)), info.samplerate};
    for (std::size_t i = 0; i < sound.samples.size(); i++) {
        for (std::size_t channel = 0; channel < channels; channel++) sound.samples[i] += all[i * channels + channel];
        sound.samples[i] /= static_cast<float>(channels);
    }
    return sound;
}

// 16-bit WAV, whole or not at all.
void write(const std::string &path, const std::vector<float> &samples, int rate) {
    const std::string part = path + ".part";
    SF_INFO info{};
    info.samplerate = rate;
    info.channels = 1;
    info.format = SF_FORMAT_WAV | SF_FORMAT_PCM_16;
    SNDFILE *file = sf_open(part.c_str(), SFM_WRITE, &info);
    if (!file) throw std::runtime_error("Cannot write " + path + " (" + sf_strerror(nullptr) + ").");
    sf_command(file, SFC_SET_CLIPPING, nullptr, SF_TRUE);
    const auto count = static_cast<sf_count_t>(samples.size());
    const bool whole = sf_writef_float(file, samples.data(), count) == count;
    if (sf_close(file) != 0 || !whole) {
        std::filesystem::remove(part);
        throw std::runtime_error("Cannot write " + path + ".");
    }
    std::filesystem::rename(part, path);
}

double number(const std::string &flag, const std::string &text) {
    char *end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end) throw std::runtime_error(flag + ": received \"" + text + "\", expected a number.");
    return value;
}

std::uint64_t whole(const std::string &flag, const std::string &text) {
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos && text.size() < 21;
    if (!digits) throw std::runtime_error(flag + ": received \"" + text + "\", expected a whole number of 0 or more.");
    return std::strtoull(text.c_str(), nullptr, 10);
}

// Comma-separated numbers, the last one repeated up to `count`.
std::vector<double> numbers(const std::string &flag, const std::string &text, std::size_t count) {
    std::vector<double> values;
    for (std::size_t start = 0; start <= text.size();) {
        const auto comma = std::min(text.find(',', start), text.size());
        values.push_back(number(flag, text.substr(start, comma - start)));
        start = comma + 1;
    }
    if (values.size() > count) throw std::runtime_error(flag + ": expected at most " + std::to_string(count) + " numbers.");
    values.resize(count, values.back());
    return values;
}

m8d_sampling sampling_of(const m8d::Pipeline &pipeline, std::map<std::string, std::string> &flags) {
    m8d_sampling sampling = pipeline.sampling();
    if (flags.count("--seed")) sampling.seed = whole("--seed", flags["--seed"]);
    if (flags.count("--layer-steps")) {
        const auto steps = numbers("--layer-steps", flags["--layer-steps"], 3);
        sampling.coarse_steps = static_cast<int>(steps[0]);
        sampling.second_steps = static_cast<int>(steps[1]);
        sampling.rest_steps = static_cast<int>(steps[2]);
    }
    if (flags.count("--guidance")) {
        const auto guidance = numbers("--guidance", flags["--guidance"], 2);
        sampling.coarse_guidance = static_cast<float>(guidance[0]);
        sampling.fine_guidance = static_cast<float>(guidance[1]);
    }
    auto set = [&](const char *flag, float *field) {
        if (flags.count(flag)) *field = static_cast<float>(number(flag, flags[flag]));
    };
    set("--temperature", &sampling.temperature);
    set("--top-k", &sampling.top_k_ratio);
    set("--prompt-seconds", &sampling.prompt_seconds);
    return sampling;
}

int run(std::map<std::string, std::string> flags, bool quiet) {
    using Clock = std::chrono::steady_clock;
    auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
    const auto started = Clock::now();
    const int threads = flags.count("--threads") ? static_cast<int>(whole("--threads", flags["--threads"])) : 0;
    m8d::Pipeline pipeline(flags["--bundle"], threads, flags.count("--provider") ? flags["--provider"] : "cpu");
    const double opened = since(started);
    const Sound source = read(flags["--source"]), reference = read(flags["--reference"]);
    const auto sampling = sampling_of(pipeline, flags);
    const auto voice = pipeline.voice(reference.samples, reference.rate);
    m8d::Progress progress;
    if (!quiet)
        progress = [](std::uint32_t done, std::uint32_t total) {
            std::fprintf(stderr, "\rstep %u of %u", done, total);
            return true;
        };
    const auto audio = pipeline.convert(source.samples, source.rate, voice, sampling, progress);
    const int rate = pipeline.info().sample_rate;
    write(flags["--output"], audio, rate);
    const double seconds = static_cast<double>(audio.size()) / rate;
    if (!quiet)
        std::fprintf(stderr, "\nwrote %s in %.2f s (%.3f s to open the bundle), %.2f s per second of audio\n",
                     flags["--output"].c_str(), since(started), opened, since(started) / seconds);
    return 0;
}

}  // namespace

int main(int count, char **arguments) try {
    std::map<std::string, std::string> flags;
    bool quiet = false;
    const std::string known = " --bundle --source --reference --output --seed --layer-steps --guidance --temperature "
                              "--top-k --prompt-seconds --threads --provider ";
    for (int i = 1; i < count; i++) {
        const std::string flag = arguments[i];
        if (flag == "--quiet") {
            quiet = true;
        } else if (flag == "--help") {
            std::fputs(usage, stdout);
            return 0;
        } else if (known.find(" " + flag + " ") == std::string::npos || i + 1 == count) {
            throw std::runtime_error("unexpected or incomplete: " + flag + "\n" + usage);
        } else {
            flags[flag] = arguments[++i];
        }
    }
    for (const char *flag : {"--bundle", "--source", "--reference", "--output"})
        if (!flags.count(flag)) throw std::runtime_error(std::string("missing ") + flag + "\n" + usage);
    return run(std::move(flags), quiet);
} catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
}
