// Says what one file says in the voice of another: minimal BUNDLE SOURCE REFERENCE OUTPUT
#include <sndfile.h>

#include <cstdio>
#include <stdexcept>
#include <vector>

#include "m8d.hpp"

static std::vector<float> read(const char *path, int *rate) {
    SF_INFO info{};
    SNDFILE *file = sf_open(path, SFM_READ, &info);
    if (!file || info.channels != 1) throw std::runtime_error(std::string(path) + ": expected a mono audio file");
    std::vector<float> samples(static_cast<std::size_t>(info.frames));
    sf_readf_float(file, samples.data(), info.frames);
    sf_close(file);
    *rate = info.samplerate;
    return samples;
}

int main(int count, char **arguments) try {
    if (count != 5) throw std::runtime_error("usage: minimal BUNDLE SOURCE REFERENCE OUTPUT");
    m8d::Pipeline pipeline(arguments[1]);
    int source_rate = 0, reference_rate = 0;
    const auto source = read(arguments[2], &source_rate), reference = read(arguments[3], &reference_rate);
    const auto voice = pipeline.voice(reference, reference_rate);
    const auto audio = pipeline.convert(source, source_rate, voice, pipeline.sampling());
    SF_INFO info{};
    info.samplerate = pipeline.info().sample_rate;
    info.channels = 1;
    info.format = SF_FORMAT_WAV | SF_FORMAT_PCM_16;
    SNDFILE *file = sf_open(arguments[4], SFM_WRITE, &info);
    if (!file) throw std::runtime_error(std::string(arguments[4]) + ": cannot be written");
    sf_writef_float(file, audio.data(), static_cast<sf_count_t>(audio.size()));
    sf_close(file);
} catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
}
